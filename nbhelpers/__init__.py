"""Bone age and developmental stage from paediatric hand radiographs: research and teaching."""
