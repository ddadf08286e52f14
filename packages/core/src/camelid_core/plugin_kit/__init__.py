"""What a person writes a plugin with: the kinds there are, their skeletons, and the rules that what is given must keep.

Knows skeletons and contracts. Knows nothing of how plugins are found and loaded.
"""
