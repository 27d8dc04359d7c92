"""What canaries find, and how often an honest answer is taken for a spoilt one."""
