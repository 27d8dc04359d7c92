"""Parties that serve many predictions while some of them are killed: what of those that live grows?"""
