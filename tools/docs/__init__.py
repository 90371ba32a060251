"""The reference pages, generated from the collection's own data, and the site that is built from all pages."""
