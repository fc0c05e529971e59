"""Tasks: how an example becomes model inputs, and how model outputs become a loss and an Outcome.

A task is five functions; scores, maps and plans know none of them.
Order inside the room: batch · classification · regression · language.
"""
