#!/usr/bin/env python3
"""Makes reads.fastq, reads.fastq.gz and samples.tsv: the same bytes each time.

The reads are random and belong to no organism; the samples belong to nobody.
letter.txt is written by hand: no identity number in it can be anybody's, for
their holders would be born before 1900 or the numbers are kept for tests, and
its Swedish and American phone numbers are kept for fiction.
"""

import gzip
import pathlib
import random

HERE = pathlib.Path(__file__).parent


def reads(count, rng):
    for number in range(1, count + 1):
        length = rng.choice([151] * 8 + [rng.randint(35, 150), rng.randint(35, 150)])
        bases, qualities = [], []
        for place in range(length):
            # Quality falls off towards the end of a read, where bases get lost.
            lost = rng.random() < 0.02 * (place / 151) ** 2
            quality = 2 if lost else max(3, min(40, round(rng.gauss(37 - 12 * (place / 151) ** 3, 4))))
            bases.append("N" if lost else rng.choices("ACGT", weights=(29, 21, 21, 29))[0])
            qualities.append(chr(33 + quality))
        yield f"@synthetic:1:{number} length={length}\n{''.join(bases)}\n+\n{''.join(qualities)}\n"


def samples(count, rng):
    """A sample sheet with the slips that people make in one."""
    rows = [["sample_id", "subject", "tissue", "collected", "age", "rin", "concentration_ng_ul", "fastq"]]
    for number in range(1, count + 1):
        tissue = rng.choice(["blood", "blood", "blood", "liver", "muscle"])
        collected = f"2025-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
        rin = "NA" if number % 17 == 0 else f"{rng.uniform(6, 10):.1f}"
        rows.append([f"S{number:03d}", f"P{(number + 1) // 2:02d}", tissue, collected, str(rng.randint(18, 90)), rin, f"{rng.uniform(5, 120):.2f}", f"reads/S{number:03d}.fastq.gz"])
    rows[12][0] = "S011"  # given twice
    rows[20][0] = "s019 "  # nearly the same as another
    rows[25][4] = "forty"
    rows[31][3] = "2025-02-30"  # no such day
    rows[36].pop()  # a field short
    rows[7][2] = '"muscle, left leg"'
    return "".join("\t".join(row) + "\n" for row in rows)


def main():
    rng = random.Random(2026)
    text = "".join(reads(400, rng)).encode()
    (HERE / "reads.fastq").write_bytes(text)
    (HERE / "reads.fastq.gz").write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
    (HERE / "samples.tsv").write_text(samples(40, rng))


if __name__ == "__main__":
    main()
