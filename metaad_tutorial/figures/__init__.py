"""Figures that one chapter needs: each function draws what it is given and computes no result."""
