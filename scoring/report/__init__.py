"""A scored board as text, tables, figures and a page. Imports all of `scoring`."""
