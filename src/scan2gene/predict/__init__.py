"""From answers about instances to the tables of a fit."""
