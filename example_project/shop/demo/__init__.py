"""The demo, scene by scene: what the shop does, what it has to lead to, and what was found."""
