"""A pretrained network made smaller, from images to files.

Preparation -> search (`lightning/search`) -> finalists -> files
"""
