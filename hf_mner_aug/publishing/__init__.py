"""A run becomes a repo folder and a Hub repo: folder, cards, hub, stubs, hydration."""
