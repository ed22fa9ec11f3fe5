r"""The material for the answers in `bench.corpus`: sentences in several languages, code, formulas, tool calls."""

from __future__ import annotations

from typing import Any

THINGS = [
    "the request queue", "a connection pool", "the session cache", "your database index", "the retry policy",
    "a background worker", "the load balancer", "the configuration file", "an event loop", "the access token",
    "the build pipeline", "a rate limiter", "the message broker", "the error handler", "a unit test",
    "the garbage collector", "a materialised view", "the shopping list", "your morning routine", "the lesson plan",
    "the quarterly budget", "a cover letter", "the travel itinerary", "the opening paragraph", "a bread dough",
]  # fmt: skip

VERBS = [
    "slow down", "fail without a trace", "pay off within a week", "need more memory", "hold up under load",
    "run twice", "stay in order", "drift over time", "surprise the reader", "break on Windows", "rise overnight",
]  # fmt: skip

QUALITIES = [
    "simple", "thread-safe", "idempotent", "expensive", "well tested", "easy to read", "out of date", "robust",
    "surprisingly fast", "naïve", "hard to reverse", "vis-à-vis the alternatives, clear", "ambiguous",
]  # fmt: skip

NAMES = ["orders", "invoices", "customers", "events", "players", "recipes", "sensors", "shipments", "café_menu"]

SENTENCES = [
    "In most cases {thing} is {quality}, and that is exactly why {other} should not depend on it.",
    "If you look closely, {thing} tends to {verb} as soon as {other} grows beyond {number} entries.",
    "Start with {thing}; leave {other} for later.",
    "This doesn't mean that {thing} has to {verb}, only that it can.",
    "A good rule of thumb: keep {thing} {quality} and measure {other} at least every {number} minutes.",
    'Some people call this "the {quality} way", though {thing} was never designed for it.',
    "Let's break it down step by step, beginning with {thing} and ending with {other}.",
    "You can expect {thing} to {verb} — roughly {number} times a day on ordinary hardware.",
    "Yes.",
    "That said, {thing} and {other} solve two different problems, and mixing them up is the most common mistake.",
    "Set `timeout={number}` first, then watch whether {thing} still seems {quality}.",
    "Great question! The short answer is that {thing} will {verb} unless {other} is {quality}.",
    "It costs about €{number} to replace {thing}, whereas {other} can be repaired at no cost at all.",
    "The path is C:\\data\\{number}\\logs, and on Linux it is /var/log/{number}, so check both.",
    "Would you like me to go deeper into {thing}, or shall we turn to {other} next?",
    "I'm sorry, but I can't say with certainty whether {thing} is {quality} without seeing {other}.",
]

OTHER_LANGUAGES = [
    [
        "首先，请检查配置文件是否正确。",
        "如果队列已满，新的请求会被拒绝，直到有空闲的工作线程为止。",
        "这种方法简单而且可靠。",
        "您可以把缓存时间设为三十秒，然后再观察一次。",
        "总之，先测量，再优化！",
        "下面是一个完整的例子：",
    ],
    [
        "まず設定ファイルを確認してください。",
        "接続が切れた場合は、少し待ってから再試行します。",
        "この方法は単純で、テストも簡単です。",
        "ただし、メモリの使用量には注意が必要です。",
        "ご不明な点があれば、お気軽にお尋ねください。",
    ],
    [
        "먼저 설정 파일을 확인해 주세요. ",
        "캐시는 30초 동안 유지됩니다. ",
        "이 방법은 간단하고 안전합니다. ",
        "더 궁금한 점이 있으신가요? ",
    ],
    [
        "Сначала проверьте файл настроек. ",
        "Очередь растёт быстрее, чем её успевают разбирать. ",
        "Такое решение проще, но медленнее. ",
        "Если нужно, я покажу полный пример. ",
    ],
    [
        "Prüfen Sie zuerst die Einstellungen. ",
        "Größere Dateien werden stückweise übertragen, damit der Speicher reicht. ",
        "Das ist zwar einfach, aber für »große« Mengen ungeeignet. ",
        "Möchten Sie ein Beispiel sehen? ",
    ],
    [
        "تحقق من ملف الإعدادات أولاً. ",
        "هذه الطريقة بسيطة وموثوقة. ",
        "هل تريد أن أعرض مثالاً كاملاً؟ ",
    ],
]

EMOJI = ["🎉", "🚀✨", "👍🏽", "👩‍💻", "🇪🇺", "❤️", "😀😅", "🤔", "✅"]
MARKS = ["✅", "❌", "yes", "no", "n/a", "⚠️"]

CODE = [
    r"""```python
import csv
from pathlib import Path


def load_NAME(path: Path) -> list[dict[str, str]]:
    '''Return the rows of a file, "header" excluded.'''
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["id"] != ""]


if __name__ == "__main__":
    print(load_NAME(Path("NAME.csv")), sep="\n")
```""",
    r"""```sql
SELECT c.name, COUNT(*) AS total, AVG(o.amount) AS mean
FROM NAME AS o
JOIN clients AS c ON c.id = o.client_id
WHERE o.created_at >= DATE '2026-01-01'
GROUP BY c.name
HAVING COUNT(*) > 10
ORDER BY total DESC
LIMIT 20;
```""",
    r"""```javascript
const NAME = await fetch(`/api/NAME?page=${page}`);
if (!NAME.ok) {
  throw new Error("status " + NAME.status + ': \'try again\'');
}
const rows = await NAME.json();
console.log(rows.map(({ id, ...rest }) => `${id}\t${JSON.stringify(rest)}`).join("\n"));
```""",
    r"""```bash
#!/usr/bin/env bash
set -euo pipefail

for file in NAME/*.log; do
  grep -E '^[0-9]{4}-[0-9]{2}' "$file" | awk -F'\t' '{ sum += $3 } END { print FILENAME, sum }'
done
```""",
    r"""```json
{
	"NAME": [
		{"id": 1, "tags": ["new", "sale"], "price": 12.5, "path": "C:\\temp\\a"},
		{"id": 2, "tags": [], "price": null, "note": "say \"hi\""}
	]
}
```""",
    r"""```rust
fn total(NAME: &[f64]) -> Option<f64> {
    if NAME.is_empty() {
        return None;
    }
    Some(NAME.iter().sum::<f64>() / NAME.len() as f64)
}
```""",
    r"""```html
<ul class="NAME">
  <li><a href="/NAME/1" title='First &amp; last'>One</a></li>
  <!-- more to come -->
</ul>
```""",
]

FORMULAS = [
    r"""\[
\int_{-\infty}^{\infty} e^{-x^2}\,dx = \sqrt{\pi}
\]""",
    r"$$\hat{\beta} = (X^\top X)^{-1} X^\top y$$",
    r"So \( \frac{a}{b} \le \frac{c}{d} \) whenever \( ad \le bc \) and \( b, d > 0 \). ∎",
    "x² + y² = r², hence y = ±√(r² − x²), and so |y| ≤ r for every x ∈ [−r, r].",
]

# Names and arguments; None stands for a sentence.
TOOLS: list[tuple[str, dict[str, Any]]] = [
    ("get_weather", {"city": "Zürich", "unit": "celsius", "days": 3}),
    ("search_documents", {"query": None, "limit": 10, "filters": {"language": ["en", "日本語"], "draft": False}}),
    ("run_sql", {"statement": "SELECT \"id\"\nFROM orders\nWHERE note LIKE '%\\_%';", "timeout": 2.5}),
    ("send_message", {"to": ["ops@example.org", "on-call@example.org"], "subject": "Alert 🚨", "body": None}),
    ("calculate", {"expression": "(12.5 * 3) / 7 - 1e-3"}),
]
