"""Oxygen in a crystal: dimers driven together, released and joined to the intact cell; vacancies."""
