"""What a verb does beyond the stages of a study: apply, external, plan, qc, audit, demo."""
