"""Gold against augmented over seeds: study, learning curve, errors, significance, quality of what was made."""
