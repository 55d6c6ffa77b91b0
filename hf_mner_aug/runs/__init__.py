"""A recipe and its run, part by part: recipe, ledger, ranks, funnel."""
