"""How reports look: on light and dark screens, and on paper."""

from __future__ import annotations

# Ink on ground has a contrast of at least 4.5 in both schemes (WCAG 2.2, AA), pale ink and heat included.
STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1f2328; --pale: #57606a; --line: #d5dbe1; --ground: #fff; --panel: #f5f7f9;
  --right: 43 108 176; --wrong: 200 30 30; --alarm: #8a5300; --alarm-ground: #fff6e0;
  --c0: #1f5fa8; --c1: #b8500c; --c2: #117733; --c3: #882255; --c4: #44708a;
}
@media screen and (prefers-color-scheme: dark) { :root {
  --ink: #e6e9ec; --pale: #a6afb8; --line: #3b444d; --ground: #14171a; --panel: #1d2226;
  --right: 90 150 220; --wrong: 225 85 75; --alarm: #f2c066; --alarm-ground: #33290f;
  --c0: #79b3f2; --c1: #f29a5c; --c2: #6cc98a; --c3: #e08ab8; --c4: #9cc3d9;
} }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 80rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .8rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 .5rem; }
p { max-width: 60rem; overflow-wrap: anywhere; }
.lead { color: var(--pale); margin: 0; }
nav { margin: 1rem 0 0; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; font-size: .93em; }
a { color: var(--c0); text-decoration: none; } a:hover, a:focus { text-decoration: underline; }
.cards { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1.3rem 0 0; padding: 0; list-style: none; }
.cards li { flex: 1 1 8.5rem; padding: .6rem .8rem; background: var(--panel); border: 1px solid var(--line);
  border-radius: .4rem; break-inside: avoid; }
.cards b { display: block; font-size: 1.5rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.cards span { color: var(--pale); font-size: .87em; display: block; line-height: 1.3; }
.warnings { margin: 1.2rem 0 0; padding: .6rem 1rem; background: var(--alarm-ground);
  border-left: 4px solid var(--alarm); }
.warnings p { margin: .2rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .65rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--pale); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--ground); }
td:first-child { white-space: nowrap; }
td small { color: inherit; opacity: .85; display: block; } tr { break-inside: avoid; }
.bar-cell { position: relative; min-width: 5.5rem; }
.bar-cell i { position: absolute; left: 0; bottom: 0; height: 3px; background: rgb(var(--right)); }
table.many { font-size: .82em; } table.many th, table.many td { padding: .15rem .35rem; }
table.many th + th { writing-mode: vertical-rl; text-align: left; vertical-align: bottom; padding: .4rem .1rem; }
.key { display: inline-block; width: .85em; height: .85em; margin-right: .4em; vertical-align: -.06em;
  box-shadow: inset 0 0 0 1px rgb(128 128 128 / .65); }
.keys { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin: .4rem 0 0; font-size: .9em; max-width: none; }
.bars { width: 20rem; } .bar { display: block; height: .6em; margin: .22em 0; min-width: 2px;
  box-shadow: inset 0 0 0 1px rgb(128 128 128 / .5); } .bar + .bar { opacity: .55; }
figure { margin: 0; break-inside: avoid; } figcaption { font-size: .9em; margin-top: .2rem; }
img { display: block; width: 100%; border: 1px solid var(--line);
  background: repeating-conic-gradient(#e9e9e9 0 25%, #d6d6d6 0 50%) 0 / 14px 14px; }
img.exact { image-rendering: pixelated; }
.maps { display: flex; gap: 1rem; flex-wrap: wrap; } .maps figure { flex: 1 1 20rem; }
.place { margin: 0 0 1.4rem; break-inside: avoid; } .place p { margin: 0 0 .35rem; max-width: none; }
.place > div { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); gap: .6rem; }
.gallery { margin: .3rem 0 1rem; }
.places { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(34rem, 100%), 1fr)); gap: .4rem 1.6rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); gap: 1.4rem 1.8rem; }
.charts.small { grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr)); }
.chart > figcaption { font-weight: 600; font-size: 1em; margin: 0 0 .3rem; }
svg { display: block; width: 100%; height: auto; overflow: visible; font: 12px system-ui, sans-serif; }
svg text { fill: var(--pale); } svg .grid { stroke: var(--line); stroke-width: 1; } svg .axis { stroke: var(--pale); }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .casing { fill: none; stroke: var(--pale); stroke-width: 3.4; stroke-linejoin: round; opacity: .6; }
svg .guide { stroke: var(--ink); stroke-dasharray: 4 4; } svg .hover { fill: transparent; }
svg .hover:hover { fill: var(--ink); }
svg .box { fill: var(--c0); fill-opacity: .7; } svg .box:hover { fill: var(--c1); }
pre { font: 12.5px/1.45 ui-monospace, monospace; background: var(--panel); border: 1px solid var(--line);
  border-radius: .4rem; padding: .8rem 1rem; margin: 0; columns: 26rem; column-gap: 2rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
pre i { color: var(--pale); }
@media print {
  body { margin: 0; max-width: none; font-size: 12px; } nav { display: none; } h2, h3 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } .wide { overflow: visible; }
}
""".strip()
