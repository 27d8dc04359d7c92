"""Private inference as a service that requests arrive at: what is made ahead, where it is kept, and who waits."""
