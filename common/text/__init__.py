"""Words: tokens of a sentence and a model's vocabulary; word vectors read from the usual files; BERT's word pieces.

Imports `common.files`.
"""
