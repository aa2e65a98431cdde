"""The report's texts, English and Chinese. A test keeps their keys and placeholders in step."""

WORDS: dict[str, tuple[str, str]] = {
    # headline
    "headline_model": (
        "A {parameters}-parameter model of English and Chinese, from {pages} pages, in {time}.",
        "用 {pages} 个网页，历时{time}，做出一个 {parameters} 参数的中英双语模型。",
    ),
    "headline_data": (
        "{kept} clean documents from {pages} pages, in {time}.",
        "历时{time}，从 {pages} 个网页得到 {kept} 篇干净文档。",
    ),
    "headline_begun": ("A run that has just begun.", "这次运行才刚开始。"),
    "headline_alone": ("The stage {stage}, run alone.", "单独运行的阶段：{stage}。"),
    "run_named": ("Run {name}", "运行 {name}"),
    "run_finished": ("Run {name}, last active {time}", "运行 {name}，最近活动 {time}"),
    # whether it is going
    "state_running": (
        "Running since {time}: {stage}, stage {number} of {count}.",
        "自 {time} 起运行中：{stage}，第 {number} 个阶段，共 {count} 个。",
    ),
    "state_finished": (
        "Finished {time}. All {count} stages are done.",
        "已于 {time} 完成，{count} 个阶段全部结束。",
    ),
    "state_finished_once": ("All {count} stages are done.", "{count} 个阶段全部结束。"),
    "state_paused": (
        "Not running since {time}. {done} of {count} stages are done; the same command continues.",
        "自 {time} 起未在运行。{count} 个阶段已完成 {done} 个；再次执行同一命令即可继续。",
    ),
    "state_stopped": (
        "Stopped {time} during {stage}; the same command continues.",
        "已于 {time} 在{stage}阶段停止；再次执行同一命令即可继续。",
    ),
    "state_failed": (
        "Failed {time} during {stage}: {reason}",
        "已于 {time} 在{stage}阶段失败：{reason}",
    ),
    "state_lost": (
        "{stage} was interrupted, as by a kill or a power cut; last activity {time}. "
        "The same command continues.",
        "{stage}阶段意外中断（进程被终止或断电），最后活动于 {time}。再次执行同一命令即可继续。",
    ),
    "state_begun": ("No stage is done yet.", "还没有完成任何阶段。"),
    "time_left": ("{time} left", "还需 {time}"),
    "status_waiting": ("waiting", "等待"),
    "status_stopped": ("stopped", "已停止"),
    "status_failed": ("failed", "失败"),
    "status_lost": ("interrupted", "中断"),
    "to_chat": ("To talk to it:", "与它对话："),
    "tile_kept": ("Documents kept", "保留文档"),
    "tile_kept_note": ("of {pages} pages", "共 {pages} 个网页"),
    "tile_tokens": ("Tokens", "词元"),
    "tile_tokens_note": ("{english} English, {chinese} Chinese", "英文 {english}，中文 {chinese}"),
    "tile_gold": ("Good pages kept", "好网页保留"),
    "tile_gold_dropped": ("Bad pages dropped", "坏网页剔除"),
    "tile_gold_note": ("goal: 95 % of every label", "目标：每类 95 %"),
    "tile_bits": ("Bits per byte", "每字节比特"),
    "tile_bits_note": ("English / Chinese, validation", "英文 / 中文，验证集"),
    "tile_score_note": ("{task}, n = {n}", "{task}，n = {n}"),
    "tile_answers_en": ("Correct answers, English", "英文回答正确"),
    "tile_answers_zh": ("Correct answers, Chinese", "中文回答正确"),
    "tile_time": ("Time, all stages", "总用时"),
    "tile_memory_note": ("at most {memory} of memory", "内存最多 {memory}"),
    # navigation and sections
    "nav_data": ("Data", "数据"),
    "nav_training": ("Training", "训练"),
    "nav_evaluation": ("Evaluation", "评测"),
    "nav_cost": ("Time and memory", "时间与内存"),
    "nav_dropped": ("Dropped documents", "剔除的文档"),
    "nav_recipe": ("Recipe", "配方"),
    "missing": (
        "The stage {stage} has not been run: nothing to show here.",
        "阶段 {stage} 尚未运行，这里没有内容。",
    ),
    "left_out": (
        "The recipe leaves out the stage {stage}.",
        "配方略去了阶段 {stage}。",
    ),
    "unreadable": (
        "A file of this run cannot be read: {problem}",
        "无法读取本次运行的文件：{problem}",
    ),
    "as_table": ("As a table", "以表格查看"),
    # data
    "funnel_intro": (
        "{read} pages were read; {kept} documents were kept ({share}). Every page that was dropped "
        "has its reason below.",
        "读入 {read} 个网页，保留 {kept} 篇文档（{share}）。每个被剔除的网页都有原因，见下表。",
    ),
    "funnel_balanced": (
        "The sums balance: read = kept + dropped, in pages and in characters.",
        "收支相符：读入 = 保留 + 剔除，按网页和按字符都成立。",
    ),
    "funnel_fault": (
        "The sums do not balance: {pages} pages and {characters} characters are neither kept nor "
        "dropped. Please report this.",
        "收支不符：有 {pages} 个网页、{characters} 个字符既未保留也未剔除。请报告此问题。",
    ),
    "group_english": ("English", "英文"),
    "group_chinese": ("Chinese", "中文"),
    "group_other": ("Other", "其他"),
    "taken_here": ("dropped here", "本步剔除"),
    "taken_before": ("dropped before", "此前剔除"),
    "column_after": ("After", "步骤"),
    "column_taken": ("Dropped", "剔除"),
    "column_left": ("Left", "剩余"),
    "funnel_chart_note": (
        "Pages; a full bar is everything that was read.",
        "单位为网页，整条为读入的全部。",
    ),
    "funnel_table": ("Pages, characters and tokens", "网页、字符与词元"),
    "column_reason": ("Reason", "原因"),
    "pages": ("Pages", "网页"),
    "characters": ("Characters", "字符"),
    "tokens": ("Tokens", "词元"),
    "read": ("read", "读入"),
    "kept": ("kept", "保留"),
    "tokens_note": (
        "Tokens of dropped pages are estimated: their characters at the rate of what was kept.",
        "被剔除网页的词元数按保留文本的比率由字符数估计。",
    ),
    "rules_note": (
        "Rules carry the names of their settings in the recipe.",
        "规则的名称就是配方中的设置名。",
    ),
    "drop_read": ("Reading", "读取"),
    "drop_extract": ("Extracting the main text", "提取正文"),
    "drop_language": ("Language", "语言"),
    "drop_rules": ("Quality rules", "质量规则"),
    "drop_same_url": ("Same address", "相同网址"),
    "drop_same_text": ("Same text", "相同文本"),
    "drop_near_duplicate": ("Near-duplicates", "近似重复"),
    "drop_address": ("Address rules", "网址规则"),
    "drop_scores": ("Scorers", "评分器"),
    "drop_repeats": ("Mostly repeated", "大多为重复片段"),
    "drop_contamination": ("Benchmark items", "评测题目"),
    "drop_mix": ("Not in the mix", "未入配比"),
    "yield": ("What a terabyte would yield", "每 TB 的产出"),
    "yield_tokens": (
        "One terabyte (10¹² bytes, as stored) of such a crawl yields about {tokens} tokens.",
        "这样的抓取，每太字节（10¹² 字节，按存储大小）约得 {tokens} 个词元。",
    ),
    "yield_cost": (
        "That is {characters} characters a terabyte, for about {hours} hours of one worker; "
        "projected from {bytes}.",
        "即每太字节 {characters} 字符，约需单个工作进程 {hours} 小时；由 {bytes} 推算。",
    ),
    "yield_steps": ("Where the time goes:", "时间用在："),
    "thresholds": ("Values and thresholds", "数值与阈值"),
    "thresholds_intro": (
        "Every rule's values over all documents of its kind, kept or dropped. Bars in the accent "
        "colour are outside the threshold; heights are square roots, so that small counts show. "
        "“Only this rule” counts the documents, and their characters, that would be kept without "
        "it; a weak rule drops only together with one of another kind. With gold labels the last "
        "column says how many good pages the rule alone would drop.",
        "每条规则在同类全部文档（无论去留）上的数值分布。彩色部分在阈值之外；高度取平方根，以便看见少数。"
        "“仅此规则”指去掉该规则就会保留下来的文档及其字符数：弱规则须有两类同时触发才剔除文档。"
        "有标准答案时，最后一列是该规则单独使用会误伤的好页面数。",
    ),
    "column_rule": ("Rule", "规则"),
    "column_threshold": ("Threshold", "阈值"),
    "column_outside": ("Outside", "阈值之外"),
    "column_alone": ("Only this rule", "仅此规则"),
    "column_alone_characters": ("Characters", "字符"),
    "column_good_outside": ("Good pages outside", "阈值之外的好页面"),
    "column_from": ("From", "自"),
    "column_to": ("To", "至"),
    # gold
    "gold": ("Against the gold labels", "对照标准答案"),
    "gold_intro": (
        "For each page of the sample web the right decision is known: good pages should be kept, "
        "all others dropped.",
        "示例网络中每个网页的正确判定都是已知的：好网页应保留，其余应剔除。",
    ),
    "gold_label": ("Label", "标签"),
    "gold_right": ("Decided correctly", "判断正确"),
    "gold_target": ("Goal", "目标"),
    "gold_good": ("good, kept", "好网页，保留"),
    "gold_spam": ("spam, dropped", "垃圾，剔除"),
    "gold_duplicate": ("duplicate, dropped", "重复，剔除"),
    "gold_foreign": ("other language, dropped", "其他语言，剔除"),
    "gold_broken": ("broken, dropped", "残缺，剔除"),
    "gold_similarity": (
        "Text of {pages} good pages against the expected text, in 5-character pieces: F1 {f1}, "
        "precision {precision}, recall {recall}.",
        "{pages} 个好网页的正文与标准正文相比（5 字符片段）：F1 {f1}，"
        "精确率 {precision}，召回率 {recall}。",
    ),
    "gold_wrong": ("Pages decided wrongly: {count}", "判断有误的网页：{count}"),
    # training
    "stage_crawl": ("Crawl", "抓取"),
    "stage_curate": ("Curate", "清洗"),
    "stage_tokenizer": ("Tokenizer", "分词器"),
    "stage_encode": ("Encode", "编码"),
    "stage_plan": ("Plan", "规划"),
    "stage_pretrain": ("Pretrain", "预训练"),
    "stage_extend": ("Extend", "长上下文扩展"),
    "stage_tune": ("Tune", "对话微调"),
    "stage_evaluate": ("Evaluate", "评测"),
    "stage_quantize": ("Quantize", "量化"),
    "stage_export": ("Export", "导出"),
    "phase": (
        "{tokens} tokens in {steps} logged steps; training loss at the end {loss}.",
        "{tokens} 个词元，{steps} 步有记录，最终训练损失 {loss}。",
    ),
    "phase_bits": (
        " Validation: {english} bits per byte in English, {chinese} in Chinese.",
        "验证集每字节比特：英文 {english}，中文 {chinese}。",
    ),
    "phase_rate": (" {rate} tokens per second.", "每秒 {rate} 个词元。"),
    "no_metrics": ("No step has been logged.", "没有任何一步的记录。"),
    "not_finite": (
        "In {count} steps the loss was not a number; they changed nothing.",
        "有 {count} 步的损失不是数值，这些步未改变模型。",
    ),
    "damaged": (
        "{count} damaged checkpoints were skipped; the run continued from the newest complete one.",
        "跳过了 {count} 个损坏的检查点，运行从最新的完整检查点继续。",
    ),
    "rollbacks": (
        "The run rolled back to its last checkpoint {count} times, past data with a lasting spike.",
        "运行 {count} 次回退到上一个检查点，并跳过引起持续尖峰的数据。",
    ),
    "chart_loss": (
        "Training loss in nats per token, over training tokens; pale: every logged step.",
        "训练损失（奈特 / 词元），横轴为训练词元；浅色为每一步。",
    ),
    "chart_validation": (
        "Validation loss in bits per byte: comparable between tokenizers and languages.",
        "验证损失（比特 / 字节）：不同分词器和语言之间可比。",
    ),
    "chart_learning_rate": ("Learning rate.", "学习率。"),
    "chart_gradient_norm": (
        "Gradient norm before clipping; pale: every logged step.",
        "裁剪前的梯度范数；浅色为每一步。",
    ),
    "chart_tokens_per_second": (
        "Training tokens per second; pale: every logged step.",
        "每秒训练词元数；浅色为每一步。",
    ),
    "chart_peak_memory_bytes": (
        "Peak memory of the first process so far, in GiB.",
        "第一个进程迄今的内存峰值（GiB）。",
    ),
    "chart_valid_en_bits_per_byte": (
        "Validation loss in English, bits per byte.",
        "英文验证损失（比特 / 字节）。",
    ),
    "chart_valid_zh_bits_per_byte": (
        "Validation loss in Chinese, bits per byte.",
        "中文验证损失（比特 / 字节）。",
    ),
    "chart_valid_answers_bits_per_byte": (
        "Loss on held-out answers, bits per byte.",
        "留出回答的损失（比特 / 字节）。",
    ),
    "series_learning_rate": ("rate", "学习率"),
    "series_gradient_norm": ("norm", "范数"),
    "series_tokens_per_second": ("rate", "速度"),
    "series_peak_memory_bytes": ("GiB", "GiB"),
    "column_run": ("Run", "运行"),
    "column_step": ("Step", "步"),
    "bits_en": ("Bits per byte, English", "英文每字节比特"),
    "bits_zh": ("Bits per byte, Chinese", "中文每字节比特"),
    "written": ("Sample texts during training", "训练过程中的生成样例"),
    "written_intro": (
        "The likeliest continuation of each prompt (in colour) at the last validation.",
        "最近一次验证时对每个提示（彩色）的最可能续写。",
    ),
    "written_before": ("Earlier", "此前"),
    "series_loss": ("loss", "损失"),
    "axis_tokens": ("training tokens", "训练词元"),
    # evaluation
    "column_task": ("Task", "任务"),
    "column_language": ("Language", "语言"),
    "column_metric": ("Metric", "指标"),
    "column_score": ("Score", "得分"),
    "column_interval": ("95 % interval", "95 % 区间"),
    "column_chance": ("Chance", "随机"),
    "interval_note": (
        "Intervals treat questions that depend on one another as one.",
        "计算区间时，相互依赖的问题视为一组。",
    ),
    "note_truncated": (
        "{task}: {count} of {n} prompts exceed the model's window; their beginning was cut.",
        "{task}：{n} 个提示中有 {count} 个超出模型窗口，开头被截去。",
    ),
    "note_not_finite": (
        "{task}: {count} of {n} items have no score, the model's logits are NaN or infinite.",
        "{task}：{n} 题中有 {count} 题没有得分，模型的 logits 为 NaN 或无穷大。",
    ),
    "note_too_long": (
        "{task}: {count} of {n} items have no score, they do not fit the model's window.",
        "{task}：{n} 题中有 {count} 题没有得分，超出模型窗口。",
    ),
    "note_not_extracted": (
        "{task}: {count} of {n} answers could not be read.",
        "{task}：{n} 个回答中有 {count} 个无法读出答案。",
    ),
    "note_missing": (
        "{task}: not scored, its data is missing. Source: {source}",
        "{task}：缺少数据，未评测。数据来源：{source}",
    ),
    "note_left_out": (
        "{task}: the task leaves out {count} rows of its data.",
        "{task}：该任务按定义略去了 {count} 行数据。",
    ),
    "note_hit_limit": (
        "{task}: {count} of {n} answers were cut at the length limit.",
        "{task}：{n} 个回答中有 {count} 个因长度上限被截断。",
    ),
    "answers_of": ("Answers: {task}", "回答示例：{task}"),
    "example_prompt": ("Example prompt: {task}", "提示示例：{task}"),
    "expected": ("Expected: {answer}", "应为：{answer}"),
    "quantization": ("Quantization", "量化"),
    "quantization_intro": (
        "Weights as {weights}: {before} → {after}.",
        "权重为 {weights}：{before} → {after}。",
    ),
    "column_before": ("Before", "之前"),
    "column_after_quantization": ("After", "之后"),
    "column_same_choice": ("Same likeliest next token", "最可能的下一词元相同"),
    "bits_per_byte": ("bits per byte", "每字节比特"),
    # cost
    "cost_intro": ("All finished stages took {total}.", "已完成的阶段共用时{total}。"),
    "column_stage": ("Stage", "阶段"),
    "column_time": ("Time", "用时"),
    "column_predicted": ("Predicted", "预测"),
    "column_off": ("Off by", "偏差"),
    "column_memory": ("Peak memory", "内存峰值"),
    "total": ("Total", "合计"),
    "cost_note": (
        "Time of the attempt that finished a stage; memory of its largest process.",
        "用时为完成该阶段的那一次，内存为最大的一个进程。",
    ),
    # forecast
    "saving": (
        "For the same loss AdamW in place of Muon costs {muon} times the FLOPs, and the whole"
        " baseline of the efficiency ledger (AdamW, cosine, unfiltered text) {flops} times the"
        " FLOPs and {cpu} times the CPU time: {low} to {high} in place of the {spent} of this"
        " pretraining. Measured on models of {smallest} to {largest} parameters at the beginning of"
        " training, not on this run (docs/en/efficiency.md).",
        "达到同一损失，用 AdamW 代替 Muon 需要 {muon} 倍的 FLOPs；效率账本的整个基线"
        "（AdamW、余弦衰减、未过滤的文本）需要 {flops} 倍的 FLOPs、{cpu} 倍的 CPU 时间，"
        "即本次预训练的 {spent} 会变成 {low} 到 {high}。以上是在 {smallest} 到 {largest}"
        " 参数的模型、训练初期测得的，并非在本次运行上测得（docs/zh/efficiency.md）。",
    ),
    "proofs": ("What the text is worth", "文本的价值"),
    "proofs_intro": (
        "Small models were trained on groups of these documents, by <code>tongwen curate"
        " prove</code>. Below zero, the last group, the best by the score or with the rule or"
        " source, lowers the loss.",
        "用这些文档的各个分组训练了小模型（<code>tongwen curate prove</code>）。"
        "小于零表示最后一组（评分最高，或应用规则、加入来源的一组）使损失降低。",
    ),
    "proofs_question": ("question", "问题"),
    "proofs_language": ("language", "语言"),
    "proofs_difference": ("bits per byte, last group minus first", "每字节比特，末组减首组"),
    "proofs_agreement": ("rank agreement (Spearman)", "秩相关（Spearman）"),
    "forecast": ("Forecast and outcome", "预测与结果"),
    "forecast_settled": (
        "Forecast before the first step and sealed ({digest}); 80 % of outcomes are expected in "
        "the band.",
        "预测在第一步之前作出并封存（{digest}）；80 % 的结果应落在区间内。",
    ),
    "forecast_open": (
        "Forecast before the first step and sealed ({digest}); the run has not ended, so there "
        "is no verdict yet.",
        "预测在第一步之前作出并封存（{digest}）；训练尚未结束，还没有结论。",
    ),
    "forecast_left": (
        "At step {step} the run left the band of {what}: {value}, forecast {low} to {high}.",
        "第 {step} 步时 {what} 超出区间：{value}，预测为 {low} 至 {high}。",
    ),
    "forecast_band": ("{low} to {high}", "{low} 至 {high}"),
    "forecast_seconds": ("time", "用时"),
    "forecast_memory_bytes": ("peak memory", "内存峰值"),
    "forecast_price": ("price", "费用"),
    "forecast_bits_per_byte": (
        "bits per byte, {language}, after {tokens} tokens",
        "{language}每字节比特，训练 {tokens} 词元后",
    ),
    "column_band": ("80 % band", "80 % 区间"),
    "column_outcome": ("Outcome", "结果"),
    "column_residual": ("Residual", "残差"),
    # dropped
    "dropped_intro": (
        "A random sample of what was dropped, by reason, with the value and its threshold.",
        "按原因随机抽取的被剔除文档，附测得的值和阈值。",
    ),
    "no_dropped": ("No sample of dropped documents.", "没有被剔除文档的样本。"),
    "quarantine": ("Quarantined inputs", "隔离的输入"),
    "quarantine_intro": (
        "These inputs killed the process working on them twice and were left out.",
        "这些输入两次使处理它们的进程终止，因此被略去。",
    ),
    "no_quarantine": ("None: every input was processed.", "没有：所有输入都已处理。"),
    "column_item": ("Item", "输入"),
    "problem_files": ("Files with problems", "有问题的文件"),
    "problem_files_intro": (
        "What the crawl left out, and what curation could not read to its end. Broken files come "
        "first; the whole lists are in stages/crawl/not_taken.jsonl and "
        "stages/curate/bad_files.jsonl.",
        "抓取阶段未采用的文件，以及清洗阶段未能完整读取的文件。损坏的排在前面；完整清单见 "
        "stages/crawl/not_taken.jsonl 和 stages/curate/bad_files.jsonl。",
    ),
    "no_problem_files": ("None: every file was read to its end.", "没有：所有文件都已完整读取。"),
    "column_files": ("Files", "文件数"),
    "column_names": ("Names", "文件名"),
    "column_hint": ("What to do", "处理办法"),
    "more_names": ("and {count} more", "另有 {count} 个"),
    "tile_bad_files": ("Files with problems", "有问题的文件"),
    "tile_bad_files_note": ("not read whole: {names}", "未能完整读取：{names}"),
    # recipe
    "recipe_intro": (
        "All values of this run. Pass the file to tongwen run to repeat it.",
        "这次运行的全部取值。把该文件交给 tongwen run 即可重新运行。",
    ),
    "no_recipe": ("The run has no recipe.toml.", "这次运行没有 recipe.toml。"),
    "versions": ("Versions, where this page was written", "版本（生成本页的环境）"),
    "footer_live": (
        "Refreshes automatically during the run.",
        "运行期间自动刷新。",
    ),
    "live_lost": (
        "The status server does not answer; what is shown is from {time}.",
        "状态服务没有响应；显示的是 {time} 的内容。",
    ),
    "footer": (
        "One file, no outside requests. Written by tongwen report from the files of the run.",
        "单个文件，不访问任何外部地址。由 tongwen report 根据运行文件生成。",
    ),
}
