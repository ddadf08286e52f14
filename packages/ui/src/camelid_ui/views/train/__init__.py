"""The Train page's pieces as HTML, by part of the page."""
