"""The doors: REST, the command line, the client."""
