"""Alibaba Cloud, from the control machine."""
