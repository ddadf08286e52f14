"""The process that holds the models, and the programs that talk to it: a web server never loads a model itself."""
