"""What tests and benchmarks need of a service: the real SGLang on a CPU."""
