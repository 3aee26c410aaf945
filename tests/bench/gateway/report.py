"""Medians, intervals, rows and the table."""
import json
import random
import statistics

COLUMNS = ("case", "peer", "rps", "p50_us", "p99_us", "cpu_us_per_req", "rss_kb", "rps_ratio", "p99_ratio", "ratio_lo", "ratio_hi", "rounds",
           "proxy_core_pct", "rig_core_pct", "binary_sha256")
RESAMPLES = 2000


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def interval(ratios):
    """95 % of the bootstrap's medians lie in it."""
    if not ratios:
        return None, None
    dice = random.Random(20)
    medians = sorted(statistics.median(dice.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES) - 1]


def ratios(ours, theirs, key):
    """Ours / theirs, round by round: what disturbed one round disturbed both."""
    return [a[key] / b[key] for a, b in zip(ours, theirs) if a and b and a.get(key) and b.get(key)]


class Report:
    def __init__(self, folder, about):
        self.folder, self.about, self.rows, self.notes = folder, about, [], []

    def row(self, case, peer, note="", **values):
        row = {c: None for c in COLUMNS}
        row.update(case=case, peer=peer, **values)
        for key, value in row.items():
            if isinstance(value, float):
                row[key] = round(value, 4 if "ratio" in key else 2)
        self.rows.append(row)
        self.notes.append(note)
        self.save()

    def save(self):
        (self.folder / "gateway.json").write_text(json.dumps(self.rows, indent=1) + "\n")
        notes = [{"case": r["case"], "peer": r["peer"], "note": n} for r, n in zip(self.rows, self.notes) if n]
        (self.folder / "about.json").write_text(json.dumps({**self.about, "notes": notes}, indent=1) + "\n")

    def table(self):
        def cell(value):
            if value is None:
                return "-"
            if isinstance(value, float):
                return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"
            return str(value)

        head = ("case", "peer", "requests/s", "p50 us", "p99 us", "CPU us/req", "RSS KB", "rps ratio", "p99 ratio", "95 %", "core % proxy/rig", "")
        lines = [head]
        for r, note in zip(self.rows, self.notes):
            between = f"{r['ratio_lo']:.2f}..{r['ratio_hi']:.2f}" if r["ratio_lo"] is not None else "-"
            cores = f"{r['proxy_core_pct']:.0f}/{r['rig_core_pct']:.0f}" if r["proxy_core_pct"] is not None else "-"
            lines.append((r["case"], r["peer"], *(cell(r[c]) for c in ("rps", "p50_us", "p99_us", "cpu_us_per_req", "rss_kb", "rps_ratio", "p99_ratio")),
                          between, cores, note))
        return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], tuple("---" for _ in head), *lines[1:]])
