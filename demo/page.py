"""page"""
def render(comparisons, record):
    return ""
