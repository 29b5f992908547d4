"""Characters and names of MathML as LaTeX commands (Unicode 15 names; commands of LaTeX, amsmath and amssymb)."""

from __future__ import annotations

_COMMANDS = r"""
α alpha β beta γ gamma δ delta ε varepsilon ϵ epsilon ζ zeta η eta θ theta ϑ vartheta ι iota κ kappa λ lambda μ mu
µ mu ν nu ξ xi π pi ϖ varpi ρ rho ϱ varrho σ sigma ς varsigma τ tau υ upsilon φ varphi ϕ phi χ chi ψ psi ω omega
Γ Gamma Δ Delta ∆ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Υ Upsilon Φ Phi Ψ Psi Ω Omega
± pm ∓ mp × times ÷ div · cdot ⋅ cdot ∗ ast ⋆ star ∘ circ ∙ bullet • bullet ∖ setminus ⊕ oplus ⊖ ominus ⊗ otimes
⊘ oslash ⊙ odot † dagger ‡ ddagger ∐ coprod ∧ wedge ∨ vee ∩ cap ∪ cup ⊎ uplus ⊓ sqcap ⊔ sqcup
≤ le ⩽ leqslant ≥ ge ⩾ geqslant ≠ ne ≡ equiv ≢ not\equiv ≈ approx ≅ cong ≃ simeq ∼ sim ∝ propto ≪ ll ≫ gg ≍ asymp
≐ doteq ≺ prec ≻ succ ⪯ preceq ⪰ succeq ⊂ subset ⊃ supset ⊆ subseteq ⊇ supseteq ⊊ subsetneq ⊄ not\subset ∈ in ∉ notin
∋ ni ⊢ vdash ⊨ models ⊥ perp ∥ parallel ∣ mid ∤ nmid ≔ coloneqq ⋈ bowtie ⊲ lhd ⊴ unlhd
∀ forall ∃ exists ∄ nexists ¬ neg ∅ emptyset ∞ infty ∂ partial ∇ nabla ℏ hbar ℓ ell ℜ Re ℑ Im ℘ wp ℵ aleph ∠ angle
△ triangle □ square ◻ square ⋄ diamond ♯ sharp ♭ flat ′ prime ″ prime\prime ‴ prime\prime\prime √ sqrt{}
← leftarrow → rightarrow ↔ leftrightarrow ⇐ Leftarrow ⇒ Rightarrow ⇔ Leftrightarrow ↑ uparrow ↓ downarrow ↕ updownarrow
⟵ longleftarrow ⟶ longrightarrow ⟷ longleftrightarrow ⟸ Longleftarrow ⟹ Longrightarrow ⟺ Longleftrightarrow ↦ mapsto
⟼ longmapsto ↪ hookrightarrow ↩ hookleftarrow ↗ nearrow ↘ searrow ↙ swarrow ↖ nwarrow ⇀ rightharpoonup
⇁ rightharpoondown ⇌ rightleftharpoons ↠ twoheadrightarrow ⇝ rightsquigarrow
∑ sum ∏ prod ∫ int ∬ iint ∭ iiint ∮ oint ⋂ bigcap ⋃ bigcup ⋀ bigwedge ⋁ bigvee ⨁ bigoplus ⨂ bigotimes
⟨ langle ⟩ rangle 〈 langle 〉 rangle ⌈ lceil ⌉ rceil ⌊ lfloor ⌋ rfloor ‖ | ∶ colon ⋯ cdots … ldots ⋮ vdots ⋱ ddots
∴ therefore ∵ because ℂ mathbb{C} ℍ mathbb{H} ℕ mathbb{N} ℙ mathbb{P} ℚ mathbb{Q} ℝ mathbb{R} ℤ mathbb{Z}
ℒ mathcal{L} ℋ mathcal{H} ℱ mathcal{F} ℳ mathcal{M} ℬ mathcal{B} ℰ mathcal{E} ℛ mathcal{R}
{ { } } \ backslash % % # # & & _ _ $ $ ^ hat{} ~ sim ˆ hat{}
"""

_pairs = _COMMANDS.split()
SYMBOLS: dict[str, str] = {
    character: "\\" + command for character, command in zip(_pairs[::2], _pairs[1::2], strict=True)
} | {"−": "-", "‐": "-", "–": "-", "∕": "/", "ʹ": "'", "\u00a0": " "}  # fmt: skip
SYMBOLS |= dict.fromkeys("\u2061\u2062\u2063\u2064\u200b\u2060\ufeff", "")  # application, invisible times, comma, plus

FUNCTIONS = frozenset(
    (
        "arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim liminf limsup ln log"
        " max min Pr sec sin sinh sup tan tanh"
    ).split()
)
"""Names of functions that LaTeX has commands for."""

ACCENTS = {
    "¯": "bar", "‾": "overline", "_": "bar", "^": "hat", "ˆ": "hat", "~": "tilde", "˜": "tilde", "∼": "tilde",
    "→": "vec", "⃗": "vec", "⟶": "vec", "⇀": "vec", "˙": "dot", ".": "dot", "¨": "ddot", "..": "ddot", "ˇ": "check",
    "˘": "breve", "´": "acute", "`": "grave", "⏞": "overbrace", "︷": "overbrace", "−": "bar", "-": "bar",
}  # fmt: skip
"""What stands over a base -> the command."""
UNDER = {"_": "underline", "¯": "underline", "‾": "underline", "̲": "underline", "⏟": "underbrace", "︸": "underbrace"}
"""What stands under a base -> the command."""
LIMITS = frozenset("∑∏∐∫∬∭∮⋂⋃⋀⋁⨁⨂") | {"lim", "max", "min", "sup", "inf", "limsup", "liminf", "argmax", "argmin"}
"""Bases whose scripts stand above and below them."""
FENCES = {("(", ")"): "pmatrix", ("[", "]"): "bmatrix", ("|", "|"): "vmatrix", ("‖", "‖"): "Vmatrix"}
"""What stands around a table -> the environment."""
VARIANTS = {
    "bold": "mathbf", "bold-italic": "boldsymbol", "double-struck": "mathbb", "script": "mathcal",
    "fraktur": "mathfrak", "sans-serif": "mathsf", "monospace": "mathtt",
}  # fmt: skip
"""`mathvariant` -> the command."""
