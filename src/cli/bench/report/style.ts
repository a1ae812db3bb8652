/** The report's style sheet: light and dark by the reader's preference, one column on a phone. */

/** Colours of stores, in order, and of the parts of a process. */
export const COLOURS = `
:root{--ink:#1b1f27;--soft:#5d6675;--paper:#fbfbfd;--card:#fff;--line:#e3e6ec;--good:#0f8a4b;--bad:#b4560f;
--s0:#f2a900;--s1:#3b82d6;--s2:#8b6fd0;--s3:#2a9d8f;--s4:#d0587e;--s5:#9aa3b2}
@media (prefers-color-scheme:dark){:root{--ink:#e9ecf2;--soft:#9aa4b5;--paper:#12151b;--card:#1a1e26;--line:#2c323d;--good:#4fd08f;--bad:#f0a35e;
--s0:#ffc233;--s1:#6aa9f0;--s2:#ab93ea;--s3:#4cc3b4;--s4:#ea7fa1;--s5:#7b8494}}
.s0{fill:var(--s0);stroke:var(--s0)}.s1{fill:var(--s1);stroke:var(--s1)}.s2{fill:var(--s2);stroke:var(--s2)}
.s3{fill:var(--s3);stroke:var(--s3)}.s4{fill:var(--s4);stroke:var(--s4)}.s5{fill:var(--s5);stroke:var(--s5)}
rect,circle{stroke:none!important}
text{font:13px ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--ink)}
text.tick{font-size:11.5px;fill:var(--soft)}text.label{fill:var(--soft)}text.value{font-weight:600}
.grid{stroke:var(--line);stroke-width:1}.line{fill:none!important;stroke-width:2.2;stroke-linejoin:round}
.dashed{stroke-dasharray:5 4}.whisker{stroke:var(--ink);stroke-width:1.4;opacity:.55}`;

export const STYLE = `${COLOURS}
*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 18px 64px}
h1{font-size:clamp(1.6rem,5vw,2.3rem);line-height:1.15;margin:.2em 0 .3em;letter-spacing:-.02em}
h2{font-size:1.3rem;margin:2.2em 0 .5em;letter-spacing:-.01em}h3{font-size:1rem;margin:0 0 .5em}
p{margin:.5em 0;max-width:74ch}.soft{color:var(--soft)}small,.small{font-size:.86rem}
.grid-cards{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr))}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px;min-width:0}
.tiles{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));margin:1.2em 0}
.tile{background:var(--card);border:1px solid var(--line);border-top:3px solid var(--s0);border-radius:12px;padding:12px 14px}
.tile b{display:block;font-size:1.45rem;letter-spacing:-.02em;line-height:1.2}.tile span{color:var(--soft);font-size:.86rem}
svg.chart{display:block;width:100%;height:auto}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;color:var(--soft);font-size:.9rem}
.legend svg{width:12px;height:12px;margin-right:6px;vertical-align:-1px}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:12px;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:7px 11px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left;white-space:normal;min-width:12em}tr:last-child td{border-bottom:0}
th{color:var(--soft);font-weight:600;font-size:.82rem}.met{color:var(--good);font-weight:600}.short{color:var(--bad);font-weight:600}
details{margin:1em 0}summary{cursor:pointer;font-weight:600}
code{font:.88em ui-monospace,SFMono-Regular,Menlo,monospace}
@media print{body{background:#fff}.card,.scroll{break-inside:avoid}}`;
