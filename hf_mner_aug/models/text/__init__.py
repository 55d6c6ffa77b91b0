"""Engines that write labelled text: templates, InstructBLIP, an endpoint."""
