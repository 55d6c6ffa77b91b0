"""What generates, encodes or finds for the methods: chat, vision and image endpoints."""
