"""What strangers wrote, checked before it is used: names, dates, text, JSON and YAML, cards, hosts, answers."""
