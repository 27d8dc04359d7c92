"""A small model at the client that says when a service's answer is unlike what the service answered before."""
