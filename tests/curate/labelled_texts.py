"""A small labelled sample, written for these tests: good texts of kinds that rules made for essays
tend to drop, and pages that are no text. Kind -> language and text.
"""

GOOD = {
    "lesson with formulas": (
        "zh-Hans",
        "\n\n".join(
            rf"第{n}题：设函数\(f(x)={k}x^{{2}}+bx+c\)，"
            rf"由判别式\(\Delta=b^{{2}}-{4 * k}c\ge 0\)可知{tail}。"
            rf"把求根公式写成\(x_{{1,2}}=\frac{{-b\pm\sqrt{{\Delta}}}}{{{2 * k}}}\)，"
            rf"再看看它为什么成立。"
            for n, k, tail in (
                ("一", 1, "方程有两个实根"),
                ("二", 2, "图像与横轴相交"),
                ("三", 3, "顶点在横轴下方"),
                ("四", 4, "最小值不大于零"),
                ("五", 5, "两根之和与之积都能算出"),
            )
        ),
    ),
    "mainland tutorial": (
        "zh-Hans",
        """用 Docker 部署 Spring Boot 服务

先在 pom.xml 里加入 spring-boot-maven-plugin，然后执行 mvn package，得到可执行的 jar。

```
FROM eclipse-temurin:21
COPY target/app.jar /app.jar
ENTRYPOINT ["java", "-jar", "/app.jar"]
```

镜像推到 Harbor 之后，在 Kubernetes 里用 Deployment 和 Service 暴露 8080 端口。
如果 Pod 一直是 CrashLoopBackOff，用 kubectl logs 看启动日志，多半是 JVM 的 Xmx 比 limits 还大。
Readiness 探针要指向 /actuator/health，否则滚动升级时会有 502。""",
    ),
    "Taiwan tutorial": (
        "zh-Hant",
        """用 React 的 useEffect 取得遠端資料

很多人第一次寫 hook，會忘了在相依陣列裡放入 userId，結果元件重新渲染時還是顯示舊資料。
正確的做法是在 effect 裡呼叫 fetch，並且在清理函式中用 AbortController 取消還沒有完成的請求。

```
useEffect(() => { load(userId) }, [userId])
```

如果專案用的是 TypeScript，記得替 response 定義 interface，不要到處寫 any。
伺服器回傳 404 的時候，畫面應該顯示提示訊息，而不是整頁空白。""",
    ),
    "Hong Kong tutorial": (
        "zh-Hant",
        """點樣用 GitHub Actions 部署到 AWS

首先喺 repository 嘅 Settings 度加入 AWS_ROLE_ARN，唔好將 access key 直接寫喺 YAML 入面。
之後喺 workflow 用 OIDC 攞臨時憑證，再行 aws s3 sync 將 build 資料夾上載去 bucket。
如果見到 AccessDenied，多數係 trust policy 嘅 sub 條件寫錯咗 branch 名。
CloudFront 會 cache 舊檔案，所以最後一步要做 invalidation，使用者先會見到新版面。""",
    ),
    "old poem": (
        "zh-Hans",
        "\n".join(
            (
                "夜泊海角",
                "",
                "风起潮来月满湾，孤灯一点照云间。",
                "渔人未解归帆意，犹自摇橹过浅滩。",
                "",
                "其二",
                "",
                "石上苔痕几度新，当年系缆是何人。",
                "而今只有沙鸥在，日日飞来认旧邻。",
                "",
                "其三",
                "",
                "不向名山觅隐居，小楼临水好观鱼。",
                "一编读罢无余事，坐看斜阳入草庐。",
                "其四",
                "",
                "长堤十里柳如烟，犹记春寒二月天。",
                "今日重来人不见，一江流水自年年。",
            )
        ),
    ),
    "English poem": (
        "en",
        "\n".join(
            (
                "The keeper climbs the narrow stair",
                "with oil and wick and match in hand,",
                "and all the dark that fills the air",
                "is waiting just beyond the land.",
                "",
                "He trims the flame, he turns the glass,",
                "he writes the hour in the book,",
                "and counts the little boats that pass",
                "and answers every light they took.",
                "",
                "What is it that the water says",
                "to one who listens every night?",
                "It says the names of other days",
                "and asks him for a little light.",
                "",
                "And when the morning comes at last",
                "he sleeps, and dreams of going home,",
                "of fields that have been cut and grassed",
                "and of a road that knows no foam.",
            )
        ),
    ),
    "dialogue": (
        "zh-Hans",
        "\n".join(
            (
                "甲：你昨天去哪儿了？我在码头等了你一个下午。",
                "乙：对不起，我的船坏了，在岛上修了半天。",
                "甲：修好了吗？",
                "乙：修好了，可是天也黑了。",
                "甲：那你晚上住在哪里？",
                "乙：灯塔的老人让我住下，还给我煮了一锅鱼汤。",
                "甲：他还是一个人吗？",
                "乙：是的，和一只猫。",
                "甲：下次我们一起去看他吧。",
                "乙：好，他说想要一本新的历书，还有两斤白糖。",
                "甲：这个好办，我明天就去买。",
                "乙：顺便问问有没有他那种灯芯。",
            )
        ),
    ),
    "English dialogue": (
        "en",
        "\n".join(
            (
                "Where were you?",
                "On the island.",
                "All day?",
                "The boat was broken.",
                "Is it mended now?",
                "It is, but it took us until the evening.",
                "Who helped you?",
                "The keeper did.",
                "Does he still live there alone?",
                "He has a cat, and the radio.",
                "Did he say anything?",
                "He asked for an almanac and for sugar.",
                "I can bring both of them on Friday.",
                "Then come with me, and bring your brother.",
                "Will he let us climb the tower?",
                "He will if you ask him nicely, and wipe your boots.",
            )
        ),
    ),
    "logs in an answer": (
        "en",
        "The service died every night at the same time, and the log of the "
        "last minute before it did so was always this:\n\n"
        + "\n".join(
            f"2026-11-0{day} 03:15:{second:02d},{117 * day} ERROR [worker-{day}] org.cape.Tide - "
            f"cannot read gauge {day * 31}: timeout after {day * 500} ms"
            for day in range(1, 9)
            for second in (7, 32)
        )
        + "\n\nThe cause was the backup, which begins at three and takes all of the bandwidth that "
        "the gauges have. We gave the job a limit, and have not seen the error since. If you have "
        "the same problem, look at what else is scheduled at that hour before you change it.",
    ),
    "reference table": (
        "zh-Hans",
        "常见的 HTTP 状态码\n\n| 状态码 | 名称 | 含义 |\n| --- | --- | --- |\n"
        + "\n".join(
            f"| {code} | {name} | {what} |"
            for code, name, what in (
                (200, "OK", "请求成功"),
                (201, "Created", "已创建新资源"),
                (204, "No Content", "成功，没有正文"),
                (301, "Moved Permanently", "永久移动到新地址"),
                (304, "Not Modified", "缓存仍然有效"),
                (400, "Bad Request", "请求的格式有误"),
                (401, "Unauthorized", "需要先登录"),
                (403, "Forbidden", "没有权限访问"),
                (404, "Not Found", "找不到资源"),
                (429, "Too Many Requests", "请求过于频繁"),
                (500, "Internal Server Error", "服务器内部错误"),
                (503, "Service Unavailable", "暂时无法提供服务"),
            )
        ),
    ),
    "English table": (
        "en",
        "Boiling points at one atmosphere\n\n| substance | formula | °C | K |\n"
        "| --- | --- | --- | --- |\n"
        + "\n".join(
            f"| {name} | {formula} | {c} | {k} |"
            for name, formula, c, k in (
                ("water", "H2O", "100.0", "373.1"),
                ("ethanol", "C2H6O", "78.4", "351.5"),
                ("methanol", "CH4O", "64.7", "337.8"),
                ("acetone", "C3H6O", "56.1", "329.2"),
                ("benzene", "C6H6", "80.1", "353.2"),
                ("toluene", "C7H8", "110.6", "383.8"),
                ("ammonia", "NH3", "-33.3", "239.8"),
                ("nitrogen", "N2", "-195.8", "77.4"),
                ("oxygen", "O2", "-183.0", "90.2"),
                ("mercury", "Hg", "356.7", "629.9"),
            )
        ),
    ),
    "reference page with unmarked code": (
        "zh-Hans",
        """## VBScript 教程

Delete 方法用于删除指定的文件夹，成功时没有返回值。

### 语法

FolderObject.Delete(force)

### 针对文件夹的实例

<%
dim fs,fo
set fs=Server.CreateObject("Scripting.FileSystemObject")
set fo=fs.GetFolder("c:\\shop_web")
fo.Delete
set fo=nothing
set fs=nothing
%>

### 针对只读文件夹的实例

<%
dim fs,fo
set fs=Server.CreateObject("Scripting.FileSystemObject")
set fo=fs.GetFolder("c:\\shop_old")
fo.Delete(true)
set fo=nothing
set fs=nothing
%>

输出：无""",
    ),
    "English reference page with unmarked code": (
        "en",
        """The element loop

The loop writes one row for each order, and the total below them. Use it where a page shows a list
of things that a shop has sold. Leave out the last row when the list is empty.

<?php
foreach ($orders as $order) {
echo "<tr>";
echo "<td>" . $order->name . "</td>";
echo "</tr>";
}
?>

The second form counts the rows first, so that the page can say how many there are.

<?php
$count = count($orders);
foreach ($orders as $order) {
echo "<tr>";
echo "<td>" . $order->name . "</td>";
echo "</tr>";
}
echo "<p>" . $count . "</p>";
?>""",
    ),
    "list of steps": (
        "en",
        "Replacing the wick of the lamp\n\n"
        + "\n".join(
            f"- {step}"
            for step in (
                "Let the lamp cool for an hour",
                "Unscrew the collar, left to right",
                "Lift out the burner",
                "Pull the old wick down and out",
                "Trim the new one to 40 mm",
                "Feed it from below",
                "Turn the knob until it just shows",
                "Put the burner back",
                "Tighten the collar by hand",
                "Fill with oil to the mark",
                "Wait ten minutes for it to soak",
                "Light it, and turn it low",
            )
        )
        + "\n\nThe flame should be even and blue at its edge. If it smokes, the wick is too high.",
    ),
    "changelog": (
        "zh-Hans",
        "3.2.0 更新说明\n\n"
        + "\n".join(
            f"- {change}"
            for change in (
                "新增 rate limit 配置项，默认每秒 500 次",
                "修复 consumer 重连后 offset 丢失的问题",
                "支持 JDK 21 和 GraalVM",
                "移除过时的 HttpClient 3 依赖",
                "文档：补充 Helm chart 的安装步骤",
                "优化 broker 启动速度，减少 30%",
                "修复 Windows 上路径分隔符的错误",
                "升级 Netty 到 4.1.100",
                "管理页面可以按 topic 名称搜索",
                "CLI 新增 --dry-run 参数",
            )
        ),
    ),
}

BAD = {
    "menu": (
        "zh-Hans",
        "\n".join(
            f"{first}{second}"
            for first in ("首页", "新闻", "产品", "服务", "招聘", "论坛")
            for second in ("频道", "列表", "中心", "专区", "大全")
        ),
    ),
    "spam": (
        "zh-Hans",
        "澳门新葡京赌场，真人娱乐，百家乐投注送彩金，提现秒到账，注册送现金，时时彩开奖。" * 6,
    ),
    "product grid": (
        "en",
        "\n".join(f"Lamp {n}\n${n}9.99\nAdd to cart\n★★★★☆ ({n})" for n in range(1, 25)),
    ),
    "archive of titles": (
        "en",
        "\n".join(f"{n} March 20{n}\nNotes {n}\nread more ..." for n in range(10, 40)),
    ),
    "printed three times": (
        "en",
        "The keeper of the lamp has written down the weather of this coast "
        "for forty years, and nobody has ever asked him for the book that it is in. " * 3,
    ),
    "nearly nothing": ("zh-Hans", "尚无文章。"),
    "broken text": ("zh-Hans", "锛屾槸鐨勶紝鐏蛊鐨勬晠浜嬪湪杩欓噷锛岀劧鍚庢槸鐨勶紝" * 8),
}
