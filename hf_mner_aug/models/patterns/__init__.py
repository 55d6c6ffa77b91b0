"""Engines that explain failures and write posts for them: rules, a language model."""
