"""Pictures inside a page."""

import base64


def data_uri(kind: str, content: bytes) -> str:
    """A picture file, of a kind such as ``png``, as a data URI.

    Examples
    --------
    >>> data_uri("png", b"abc")
    'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
