"""Search: what a judge may look up while it thinks, and how it is kept harmless and in bounds."""
