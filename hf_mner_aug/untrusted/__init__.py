"""Untrusted input, checked before it is used: names, dates, text, JSON and YAML, cards, hosts, responses."""
