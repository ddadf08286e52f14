"""The Data page's pieces as HTML, one module for each of its panels."""
