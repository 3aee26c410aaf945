"""What the end-to-end tests stand on: a private stack, clients, and waiting on conditions."""
