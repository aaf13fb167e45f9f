"""What an auditor needs: the bundle of a prediction, and the checks that trust nobody. Joins the stages, like the
pipeline does, but the other way round.
"""
