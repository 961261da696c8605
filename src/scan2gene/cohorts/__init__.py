"""Label tables, curation and patient-level splits."""
