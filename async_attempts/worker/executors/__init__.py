"""Who performs what is in hand: the calling thread, several threads, an event loop."""
