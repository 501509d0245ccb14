"""The wording of the emergency, crisis and urgent notices, by category.

Owns the reviewed Chinese texts and the guideline each follows. Own words; mainstream first aid only. How a notice is
chosen and shown is in `notices.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Template:
    """A notice: what may be going on, what to do until help comes, what not to do, and the guideline it follows."""

    title: str
    lead: str
    do: tuple[str, ...]
    dont: tuple[str, ...]
    source: str


CALL = "立即拨打120，说清地址、年龄、症状和开始时间，保持电话畅通"
UNLOCK = "开好门、留人守着，准备好身份证和正在吃的药"
CPR = "如果叫不醒、没有正常呼吸，马上做胸外按压：两乳头连线中点，每分钟100到120次，深5到6厘米，有AED尽快用"
RECOVERY = "让人侧躺，清掉口里的东西，保持呼吸通畅"
FIRST_AID = "2024 American Heart Association and American Red Cross Guidelines for First Aid, Circulation 2024"
CPR_SOURCE = "European Resuscitation Council Guidelines 2021, Resuscitation 2021"

EMERGENCY_NOTICES: dict[str, Template] = {
    "acs": Template(
        "可能是急性心肌梗死，请马上拨打120",
        "这样的胸部不适可能是心脏血管急性堵塞，时间就是心肌。请现在就做：",
        (
            CALL,
            "立刻停下一切活动，坐着或半躺，松开衣领",
            "手边有医生开过的硝酸甘油、血压不低（收缩压90以上）、24至48小时内没吃过西地那非一类药，可按医嘱舌下含1片",
            UNLOCK,
            CPR,
        ),
        ("自己开车或走路去医院", "硬扛着等它过去", "来回走动或用力", "没问过120调度员就自行加吃药"),
        "《急性ST段抬高型心肌梗死诊断和治疗指南（2019）》 中华心血管病杂志 2019",
    ),
    "aortic_dissection": Template(
        "可能是主动脉夹层，请马上拨打120",
        "突然撕裂样的胸背痛要警惕大血管撕裂，非常凶险。请现在就做：",
        (CALL, "平躺或半躺不动，尽量安静", "告诉120有没有高血压、两臂血压差多少", UNLOCK),
        ("走动、用力、大声说话", "吃阿司匹林或其他止痛药", "吃东西喝水"),
        "2022 ACC/AHA Guideline for the Diagnosis and Management of Aortic Disease, Circulation 2022",
    ),
    "stroke": Template(
        "可能是中风（卒中），请马上拨打120",
        "脸歪、手脚没力、说话不清、突然看不见或剧烈头痛，都可能是中风；即使几分钟后好转也要马上去医院。请现在就做：",
        (
            CALL + "，并记下最后一次正常是几点",
            "平躺或头偏向一侧躺好，有呕吐时侧躺",
            "请求送到能做溶栓、取栓的卒中中心",
            "带上正在吃的药（尤其是抗凝药）",
            CPR,
        ),
        ("喂水、喂饭、喂药（包括阿司匹林、安宫牛黄丸、降压药）", "掐人中、扎手指放血", "等等看会不会自己好"),
        "《中国急性缺血性卒中诊治指南2023》 中华神经科杂志 2024",
    ),
    "cardiac_arrest": Template(
        "可能是心跳呼吸骤停：马上按压，马上打120",
        "叫不应、没有正常呼吸，就要立刻开始心肺复苏。请现在就做：",
        (
            "打开手机免提拨打120，让旁边的人去拿AED",
            "让人平躺在硬地上，双手叠放在两乳头连线中点，用力快压：每分钟100到120次，深5到6厘米，每次让胸廓完全回弹",
            "会人工呼吸就按30次吹2口气，不会就一直按压",
            "AED到了马上打开，跟着语音做",
            "一直做到救护人员接手或人有反应",
        ),
        ("停下来反复摸脉搏", "掐人中、灌水、灌药", "搬动或摇晃病人"),
        CPR_SOURCE,
    ),
    "unconscious": Template(
        "人叫不醒或意识不清，请马上拨打120",
        "意识变差说明脑或全身出了大问题。请现在就做：",
        (CALL, RECOVERY, "有血糖仪就测一下血糖告诉120；有糖尿病的人要说明用的药", CPR, "找一找身边有没有药瓶、酒、煤气炉等线索"),
        ("喂水、喂饭、喂药", "掐人中、用力摇晃", "把人单独留下"),
        FIRST_AID,
    ),
    "syncope": Template(
        "晕倒伴危险信号，请马上拨打120",
        "活动中晕倒、伴胸痛心慌、或有心脏病和猝死家族史的晕倒，要先排除心脏问题。请现在就做：",
        (CALL, "平躺，把腿抬高一点，松开衣领", "看有没有摔伤、呼吸是否正常", CPR),
        ("马上站起来走动", "自己开车去医院", "马上吃喝东西"),
        "2018 ESC Guidelines for the diagnosis and management of syncope, European Heart Journal 2018",
    ),
    "dyspnoea": Template(
        "严重呼吸困难，请马上拨打120",
        "喘得说不成句、嘴唇发紫或血氧很低，随时有危险。请现在就做：",
        (CALL, "让人坐直、身体前倾，解开衣领，开窗通风", "家里有医生开过的吸入药、氧气，按平时医嘱用", CPR),
        ("平躺", "来回走动", "喂水喂饭"),
        FIRST_AID,
    ),
    "heart_failure": Template(
        "可能是急性心衰，请马上拨打120",
        "躺不平、夜里憋醒、咳粉红色泡沫痰，可能是心脏突然撑不住了。请现在就做：",
        (CALL, "坐直，两腿下垂，背后垫好", "家里有氧气就吸上", "带上正在吃的药", CPR),
        ("平躺", "大量喝水", "自行加大药量"),
        "《中国心力衰竭诊断和治疗指南2024》 中华心血管病杂志 2024",
    ),
    "pulmonary_embolism": Template(
        "可能是肺栓塞，请马上拨打120",
        "突然胸痛、气短，又有久坐卧床、手术、腿肿等情况，要警惕肺血管被血栓堵住。请现在就做：",
        (CALL, "原地坐着或半躺不动", "家里有氧气就吸上", CPR),
        ("走动", "揉捏肿胀的腿", "自己坐车去医院"),
        "2019 ESC Guidelines for the diagnosis and management of acute pulmonary embolism, European Heart Journal 2019",
    ),
    "anaphylaxis": Template(
        "可能是严重过敏反应，请马上拨打120",
        "皮疹加上喉咙发紧、喘、呕吐或头晕，是会致命的严重过敏。请现在就做：",
        (
            "有医生开过的肾上腺素自动注射笔，马上打在大腿外侧（可隔着衣服）",
            CALL,
            "马上停止接触可疑的食物、药物或蜂刺",
            "头晕就平躺抬高腿；喘得厉害就半坐；呕吐就侧躺",
            "好转后也要去医院观察，可能再次发作",
            CPR,
        ),
        ("突然站起来或走动", "只吃抗过敏药等着看", "催吐"),
        "World Allergy Organization anaphylaxis guidance 2020, World Allergy Organization Journal 2020",
    ),
    "angioedema": Template(
        "喉舌肿胀可能堵住气道，请马上拨打120",
        "舌头、喉咙肿胀会很快影响呼吸。请现在就做：",
        (CALL, "坐直，把口水吐出来", "有肾上腺素注射笔且怀疑过敏，马上用", "告诉120是否在吃普利类降压药", CPR),
        ("吃东西喝水", "平躺", "等着看会不会消"),
        "The international WAO/EAACI guideline for the management of hereditary angioedema, Allergy 2022",
    ),
    "asthma": Template(
        "可能是重度哮喘发作，请马上拨打120",
        "喷了药不见好、说不成整句话、嘴唇发紫，是危险的发作。请现在就做：",
        (CALL, "坐直前倾，保持镇静慢慢呼气", "继续按医生教过的急救方案使用缓解吸入药，有储雾罐就用储雾罐", CPR),
        ("平躺", "吃安眠药或镇静药", "继续接触烟味、宠物等诱因"),
        "Global Strategy for Asthma Management and Prevention, Global Initiative for Asthma 2024",
    ),
    "bleeding": Template(
        "正在用抗栓药又出血，请马上就急诊或拨打120",
        "吃抗血小板药或抗凝药时，止不住的出血要马上处理。请现在就做：",
        (CALL, "能压到的地方用干净布持续用力按住，鼻血就坐着前倾、捏紧鼻翼10到15分钟", "记下药名和最后一次吃药时间告诉医生", "头晕就平躺抬高腿"),
        ("自行决定以后停不停药，由急诊医生决定", "仰头咽血", "吃布洛芬一类止痛药"),
        "2020 ACC Expert Consensus Decision Pathway on Management of Bleeding in Patients on Oral Anticoagulants, JACC 2020",
    ),
    "head_injury": Template(
        "头部受伤伴危险信号，请马上拨打120",
        "磕到头后呕吐、犯困、说胡话，或正在吃抗栓药，要当心颅内出血。请现在就做：",
        (CALL, "躺下，头肩稍垫高，少动脖子", "伤口出血用干净布按住", "呕吐就整个人侧过来", "告诉医生正在吃的药", CPR),
        ("让人单独睡觉", "吃止痛药、喝酒", "挪动颈部"),
        "Head injury: assessment and early management, NICE guideline NG232 2023",
    ),
    "gi_bleed": Template(
        "可能是消化道大出血，请马上拨打120",
        "呕血、柏油样黑便，加上心慌头晕，说明出血不少。请现在就做：",
        (CALL, "平躺，抬高腿；呕吐时头偏向一侧", "把吐出或拉出的东西拍照留给医生看", "告诉医生有没有吃阿司匹林、抗凝药、止痛药，有没有肝病"),
        ("吃东西喝水", "再吃止痛药", "自己走去医院"),
        "《急性非静脉曲张性上消化道出血诊治指南（2018年，杭州）》 2019",
    ),
    "hypertensive_emergency": Template(
        "血压很高又有症状，请马上拨打120",
        "血压达到180/120上下又有头痛、胸痛、眼花、气短等，要警惕高血压急症。请现在就做：",
        (CALL, "坐着或半躺，安静不动，5分钟后再量一次", "有说话不清、手脚无力，记下开始时间", CPR),
        ("一下子吃很多降压药", "含服硝苯地平", "自己开车去医院"),
        "《中国高血压防治指南（2024年修订版）》 中华高血压杂志 2024",
    ),
    "shock": Template(
        "可能是休克，请马上拨打120",
        "血压很低、手脚湿冷、人没精神，是生命危险的信号。请现在就做：",
        (CALL, "平躺，抬高双腿（喘得厉害的除外），盖好保暖", "看得见的出血用力按住", CPR),
        ("喂水喂饭", "站起来走动", "吃降压药"),
        FIRST_AID,
    ),
    "arrhythmia": Template(
        "心跳过快或过慢又不舒服，请马上拨打120",
        "心跳很快或很慢，又头晕、眼前发黑、胸痛或气短，可能是危险的心律失常。请现在就做：",
        (CALL, "坐下或躺下，别再活动", "记下脉搏次数；有心电手环就存一份记录", CPR),
        ("自行加吃或补吃心律失常药、β受体阻滞剂", "自己开车", "喝浓茶、咖啡、酒"),
        "2019 ESC Guidelines for the management of patients with supraventricular tachycardia, European Heart Journal 2020",
    ),
    "hypoglycaemia": Template(
        "可能是严重低血糖，请马上处理并拨打120",
        "用降糖药的人出汗、发抖、说胡话，多半是低血糖。请现在就做：",
        (
            "人清醒能咽：马上吃15到20克糖（4块方糖、半杯含糖饮料或果汁），15分钟后复测",
            "人不清醒：" + RECOVERY + "，" + CALL,
            "有胰高血糖素且会用，可以用",
            "好转后要吃点主食，并联系医生",
        ),
        ("给不清醒的人喂糖水喂饭", "再打胰岛素或吃降糖药", "让人独处"),
        "《中国糖尿病防治指南（2024版）》 中华糖尿病杂志 2025",
    ),
    "hyperglycaemia": Template(
        "可能是糖尿病急症，请马上去急诊或拨打120",
        "血糖很高，又呕吐、大口喘气、没精神，可能是酮症酸中毒或高渗状态。请现在就做：",
        (CALL, "人清醒能喝就小口喝白水", "告诉医生用的降糖药和最后一次用药时间", RECOVERY),
        ("自己加大胰岛素", "喝含糖饮料", "运动"),
        "《中国糖尿病防治指南（2024版）》 中华糖尿病杂志 2025",
    ),
    "hyperkalaemia": Template(
        "血钾很高会让心脏停跳，请马上去急诊或拨打120",
        "高血钾可能没什么感觉就出现严重心律失常。请现在就做：",
        (CALL, "坐下或躺下不动", "带上化验单和正在吃的药（尤其普利、沙坦、螺内酯、补钾药）", CPR),
        ("再吃补钾药、低钠盐、香蕉橙汁", "等到明天再去"),
        "2021 European Resuscitation Council Guidelines: Cardiac arrest in special circumstances, Resuscitation 2021",
    ),
    "poisoning": Template(
        "可能是中毒或吃药过量，请马上拨打120",
        "不管现在有没有难受，都要马上送医院，越早越好。请现在就做：",
        (CALL, "带上药盒、瓶子或剩下的东西，记下吃了什么、多少、几点", RECOVERY, "皮肤或眼睛沾到就脱掉衣物、用大量清水冲", CPR),
        ("自行催吐、灌水、灌牛奶", "等有症状再去", "把人单独留下"),
        "European Resuscitation Council Guidelines 2021: First aid, Resuscitation 2021",
    ),
    "co_poisoning": Template(
        "可能是一氧化碳（煤气）中毒，请马上离开并拨打120",
        "用炭火、煤炉、热水器后头痛恶心、叫不醒，要想到煤气中毒。请现在就做：",
        ("先保护自己：开门窗，赶快把人移到空气新鲜的地方", CALL, "关掉气源", RECOVERY, CPR),
        ("在屋里开灯、点火、打电话", "以为通风后好了就不去医院", "灌醋、灌酸菜汤"),
        "《一氧化碳中毒临床治疗指南（一）》 中华航海医学与高气压医学杂志 2012",
    ),
    "choking": Template(
        "气道可能被堵住了，马上施救并拨打120",
        "说不出话、咳不出声、脸发紫，是气道完全堵塞。请现在就做：",
        (
            "还能咳就鼓励用力咳；咳不出声马上急救，同时让旁人打120",
            "大人和1岁以上孩子：从背后抱住，拳头放在肚脐上方，快速向内向上冲击，直到吐出来",
            "1岁以下婴儿：脸朝下趴在前臂上拍背5次，再翻过来按胸5次，反复做",
            "孕妇或很胖的人改为冲击胸部",
            CPR,
        ),
        ("用手指盲目去抠", "倒提着拍", "喂水、吞饭团往下咽"),
        CPR_SOURCE,
    ),
    "seizure": Template(
        "正在抽搐或刚抽搐过，请马上拨打120",
        "第一次抽、抽超过5分钟、抽后不醒或孕期抽搐都很危险。请现在就做：",
        ("看表记下开始时间，挪开周围硬物，头下垫软东西", CALL, "让人侧躺，解开衣领，擦掉口水", "停下来后看呼吸和反应", CPR),
        ("往嘴里塞东西", "用力按住手脚", "掐人中、喂水喂药"),
        FIRST_AID,
    ),
    "sepsis": Template(
        "可能是严重感染，请马上拨打120",
        "发烧加上意识变差、呼吸快、血压低、手脚冰凉，可能是脓毒症。请现在就做：",
        (CALL, "平躺保暖，注意呼吸", "告诉医生有没有化疗、切脾、糖尿病、近期手术", CPR),
        ("在家等退烧", "自己吃剩下的抗生素", "捂汗"),
        "Surviving Sepsis Campaign: International Guidelines for Management of Sepsis and Septic Shock 2021, Intensive Care Medicine 2021",
    ),
    "meningitis": Template(
        "可能是脑膜炎等颅内感染，请马上拨打120",
        "高烧加剧烈头痛、脖子硬、喷射样呕吐或压不褪色的出血点，要马上去医院。请现在就做：",
        (CALL, "安静平躺，呕吐时侧躺", "看有没有压不褪色的红点紫斑，告诉医生", CPR),
        ("在家等退烧", "自己吃抗生素"),
        "Meningitis (bacterial) and meningococcal disease, NICE guideline NG240 2024",
    ),
    "heat_stroke": Template(
        "可能是热射病，马上降温并拨打120",
        "高温下体温超过40℃、说胡话或昏倒，是要命的中暑。请现在就做：",
        (CALL, "抬到阴凉处，脱掉外衣", "马上用凉水浸泡或全身泼水加扇风，冰袋敷脖子、腋下、大腿根，边降温边等120", RECOVERY, CPR),
        ("给不清醒的人喂水", "吃退烧药", "捂着刮痧拖时间"),
        FIRST_AID,
    ),
    "burns": Template(
        "严重烧烫伤，请马上拨打120",
        "面积大、在脸部手部会阴、化学或电烧伤、吸入浓烟，都要马上送医院。请现在就做：",
        ("马上用流动的凉水冲20分钟左右", CALL, "趁早脱掉戒指手表，粘住的衣服不要撕", "用干净的布松松盖住，注意保暖"),
        ("抹牙膏、酱油、香油、药膏", "直接敷冰块", "挑破水泡"),
        FIRST_AID,
    ),
    "trauma": Template(
        "严重外伤或大出血，请马上拨打120",
        "止血要快。请现在就做：",
        (CALL, "用干净布或衣服直接用力按住伤口，不松手；四肢喷血按不住可在伤口上方扎止血带并记时间", "平躺保暖；从高处摔下或车祸别动脖子和腰", CPR),
        ("拔出扎进去的东西", "反复掀开看伤口", "给伤者吃喝东西"),
        FIRST_AID,
    ),
    "acute_abdomen": Template(
        "剧烈腹痛伴危险信号，请马上拨打120",
        "突然刀割样剧痛、肚子硬、休克样表现，可能需要紧急手术。请现在就做：",
        (CALL, "屈膝侧躺或平躺", "育龄女性请告诉医生末次月经时间", "带上病历和正在吃的药"),
        ("吃东西喝水", "吃止痛药或泻药", "热敷、用力揉肚子"),
        "Diagnosis and treatment of acute appendicitis: 2020 update of the WSES Jerusalem guidelines, World Journal of Emergency Surgery 2020",
    ),
    "obstetric": Template(
        "孕产期危险信号，请马上拨打120",
        "孕期或产后大出血、血压高伴头痛眼花、胎动明显减少、破水脐带脱出，都会危及母子。请现在就做：",
        (CALL + "，说明孕几周", "左侧躺；脐带脱出时抬高臀部跪趴", "用干净卫生巾垫着，留着估计出血量", "带上产检本"),
        ("自己走路或坐车颠簸去医院", "把脐带往回塞", "等到明天再看"),
        "《妊娠期高血压疾病诊治指南（2020）》 中华妇产科杂志 2020",
    ),
    "infant_fever": Template(
        "3个月以内的宝宝发烧，请马上去急诊",
        "小月龄宝宝发烧可能是严重感染，表现又不典型。请现在就做：",
        ("马上带去有儿科急诊的医院；叫不醒、呼吸费力、脸色差就拨打120", "用体温计量准体温，记下时间", "少包裹，继续喂奶", "带上出生和疫苗记录"),
        ("自己喂退烧药或感冒药", "用酒精擦身", "捂汗"),
        "Fever in under 5s: assessment and initial management, NICE guideline NG143 2021",
    ),
    "child_red_flag": Template(
        "孩子出现危险信号，请马上去急诊或拨打120",
        "精神很差、呼吸费力、出血点、果酱样大便、绿色呕吐物等都可能是重病。请现在就做：",
        (CALL, "抱着或侧躺，保持呼吸通畅", "暂时不吃不喝，拍下大便或呕吐物给医生看", CPR),
        ("在家观察一晚", "自己喂退烧药以外的药", "强行喂食"),
        "Fever in under 5s: assessment and initial management, NICE guideline NG143 2021",
    ),
    "aspiration": Template(
        "可能是误吸呛入气道，请马上拨打120",
        "呛咳后喘、脸发青，食物可能进了气管。请现在就做：",
        ("马上停止喂食，坐直前倾，鼓励咳", CALL, "咳不出声就从背后冲击腹部；鼻饲的先停、摇高床头并吸出口里的东西", CPR),
        ("继续喂水喂饭往下冲", "平躺", "用手盲目抠"),
        "《卒中患者吞咽障碍和营养管理的中国专家共识（2013版）》 中国卒中杂志 2013",
    ),
    "limb_ischaemia": Template(
        "可能是肢体急性缺血，请马上拨打120",
        "手脚突然又疼又凉又白、摸不到脉，可能是血管堵了，6小时内处理最好。请现在就做：",
        (CALL, "让患肢平放或略低，松松盖好保暖", "记下开始的时间", "告诉医生有没有房颤、正在吃的药"),
        ("热水袋烫、用力揉", "抬高患肢", "走动"),
        "2024 ACC/AHA Guideline for the Management of Lower Extremity Peripheral Artery Disease, Circulation 2024",
    ),
    "testicular_torsion": Template(
        "可能是睾丸扭转，请马上去急诊",
        "睾丸突然剧痛要在6小时内处理，晚了可能保不住。请现在就做：",
        ("马上去有泌尿外科急诊的医院，走不了就拨打120", "记下开始疼的时间", "先别吃喝，可能要手术"),
        ("等到天亮", "自己揉或热敷", "只吃消炎药观察"),
        "European Association of Urology Guidelines on Paediatric Urology 2024",
    ),
    "eye": Template(
        "眼睛的紧急情况，请马上去急诊",
        "突然看不见、化学品入眼或眼球受伤，越早处理越能保住视力。请现在就做：",
        ("化学品入眼：马上用大量清水翻开眼皮冲至少15到30分钟，再去医院", "突然看不见：马上去有眼科急诊和卒中中心的医院，可拨打120", "有东西扎入：用纸杯罩住，别碰"),
        ("揉眼睛", "拔出扎入的东西", "自己滴药等一等"),
        FIRST_AID,
    ),
    "drug_rash": Template(
        "可能是严重药疹，请马上去急诊",
        "吃药后发烧、起水泡、口眼破溃、脱皮，是危险的药物过敏。请现在就做：",
        ("先别再吃可疑的药，马上去急诊；带上所有药盒", "喘不上气、头晕就拨打120", "皮肤用干净软布盖住，别弄破水泡"),
        ("继续吃或再试一次可疑的药", "自己涂药膏、挑水泡"),
        "UK guidelines for the management of Stevens-Johnson syndrome/toxic epidermal necrolysis in adults, British Journal of Dermatology 2016",
    ),
    "self_harm": Template(
        "我们很担心您，请先保证安全，现在就找人帮忙",
        "您能说出来很不容易，这份痛苦有人愿意听，也有人能帮。请现在就做：",
        (
            "已经受伤、吃了东西或马上有危险：立即拨打120或110",
            "拨打12356（全国统一心理援助热线），和专业人员说说话",
            "马上告诉一位您信任的家人、朋友或同事，请他来陪着您，别一个人待着",
            "离开窗边、高处等危险的地方，请身边的人把可能伤害自己的东西拿走",
            "如果是家人朋友这样：一直陪着，好好听他说，不指责，陪他去医院精神科或急诊",
        ),
        ("一个人待着", "喝酒"),
        "Self-harm: assessment, management and preventing recurrence, NICE guideline NG225 2022",
    ),
    "violence": Template(
        "您正处在危险中，请先保证安全并报警",
        "这不是您的错。请现在就做：",
        ("马上到安全的地方，拨打110报警；受伤拨打120", "被掐过脖子、撞过头、肚子受伤，哪怕外表没事也要去急诊", "伤处拍照、就诊记录留好", "可拨打12338妇女维权热线或12345求助，未成年人也可拨打12345、12355"),
        ("回到施暴者身边独处", "洗掉或扔掉证据"),
        "Responding to intimate partner violence and sexual violence against women, WHO clinical and policy guidelines 2013",
    ),
    "psychosis": Template(
        "精神状态出现危险，请马上拨打120或110",
        "听到命令伤人的声音、要伤害自己或别人，需要马上专业处理。请现在就做：",
        ("保证自己和孩子老人的安全，保持距离和出口", "拨打120；有刀具或伤人危险拨打110", "用平静的话语，不争辩", "收好刀具、药品"),
        ("强行夺刀", "刺激、嘲笑、捆绑", "让他独处"),
        "《中华人民共和国精神卫生法》（2018年修正）",
    ),
    "procedure_bleeding": Template(
        "穿刺伤口出血，请马上按住并拨打120",
        "造影、支架后穿刺处鼓包或出血要马上压住。请现在就做：",
        ("躺平，用手指用力按住穿刺点上方一点的搏动处，持续不松", CALL, "手腕处：抬高手臂按住；大腿根处：腿伸直别动", "告诉医生手术日期和正在吃的抗栓药"),
        ("反复松开看", "走动、弯腿", "自己停药"),
        "2018 ESC/EACTS Guidelines on myocardial revascularization, European Heart Journal 2019",
    ),
    "thrombolysis": Template(
        "溶栓或取栓后出现新情况，请马上叫医生或拨打120",
        "溶栓后头痛、呕吐、说话变差、出血，要警惕脑出血。请现在就做：",
        ("在医院：马上按铃叫医生护士；在家：" + CALL, "平躺侧头，别动", "告诉医生溶栓的时间和药名"),
        ("自己吃降压药或止痛药", "喂水喂饭", "等等看"),
        "《中国急性缺血性卒中诊治指南2023》 中华神经科杂志 2024",
    ),
    "tube": Template(
        "气道管路出问题，请马上拨打120",
        "气切套管脱出或堵住会马上影响呼吸。请现在就做：",
        (CALL, "让人头后仰，吸掉或擦掉管口的痰", "有备用套管且受过训练就按护士教的做", CPR),
        ("硬塞套管", "喂水喂饭"),
        CPR_SOURCE,
    ),
    "spinal_cord": Template(
        "可能是马尾或脊髓受压，请马上去急诊",
        "腰背痛加上腿没劲、会阴发麻、大小便解不出或失禁，要尽快处理，晚了可能瘫痪。请现在就做：",
        ("马上去有脊柱外科的医院急诊，走不了就拨打120", "平躺在硬板上，翻身时整个身体一起动", "记下大小便和麻木开始的时间"),
        ("推拿、正骨、牵引", "等几天再看"),
        "Low back pain and sciatica in over 16s, NICE guideline NG59 2020",
    ),
    "drowning": Template(
        "溺水者，请马上拨打120",
        "呛过水的人即使醒着也可能几小时内变重。请现在就做：",
        (CALL, "没有呼吸：先吹2到5口气，再做胸外按压30次、吹气2次循环", RECOVERY, "脱掉湿衣、擦干保暖", "醒了也要去医院观察"),
        ("倒挂控水", "按压肚子控水", "以为没事就回家"),
        CPR_SOURCE,
    ),
    "electric_shock": Template(
        "触电，请先断电，再拨打120",
        "电流会伤心脏，看着没事也可能心律失常。请现在就做：",
        ("先关电闸，或用干木棍拨开电线，再碰人", CALL, "没有反应和呼吸就按压", "有烧伤用干净布盖住", CPR),
        ("用手直接拉人", "没断电就靠近", "没检查就继续干活"),
        FIRST_AID,
    ),
    "snake_bite": Template(
        "被蛇咬伤，请马上拨打120",
        "先当毒蛇处理，尽快去有抗蛇毒血清的医院。请现在就做：",
        (CALL, "少动，伤肢放低固定，摘掉戒指手表", "记下蛇的样子，能远远拍照就拍", "记下咬伤时间，标出肿胀边缘", CPR),
        ("用嘴吸、用刀切、用火烧", "扎死绷带", "喝酒、抓蛇"),
        "《2018年中国蛇伤救治专家共识》 中华急诊医学杂志 2018",
    ),
    "hypothermia": Template(
        "可能是失温或冻伤，请马上拨打120",
        "体温过低会让心跳停下来。请现在就做：",
        (CALL, "移到温暖避风处，换掉湿衣，盖毯子，先暖身体躯干", "清醒能咽可喝温热甜饮", "动作要轻", CPR),
        ("用力搓、用火烤、泡烫水", "喝酒"),
        CPR_SOURCE,
    ),
    "general": Template(
        "您说的情况可能很危急，请马上拨打120",
        "从描述看，可能需要马上急救。请现在就做：",
        (CALL, "停下活动，坐下或躺下，身边留人", UNLOCK, CPR),
        ("自己开车去医院", "独自等待"),
        FIRST_AID,
    ),
}

TODAY = "建议今天就去医院看，不要拖"
WORSE = "在路上或等候时如果加重、出现胸痛喘憋、说话不清、意识变差，马上拨打120"


def _urgent(title: str, lead: str, *do: str, source: str = FIRST_AID) -> Template:
    return Template(title, lead, (*do, WORSE), (), source)


URGENT_NOTICES: dict[str, Template] = {
    "acs": _urgent("胸部不适要尽快查", "新出现或变频繁的胸闷胸痛，要先排除心脏问题：", "今天就去医院（最好心内科或急诊）做心电图和心肌损伤标志物", "这几天别干重活、别生气、别一个人待着", source=EMERGENCY_NOTICES["acs"].source),
    "stroke": _urgent("请今天就去神经内科看", "这样的表现需要和中风鉴别：", TODAY, "记下开始的时间和经过", source=EMERGENCY_NOTICES["stroke"].source),
    "dvt": _urgent("可能是腿部静脉血栓，请今天就医", "一侧腿肿痛要排除深静脉血栓：", TODAY + "，做血管彩超", "别揉捏、热敷、按摩那条腿", "突然胸痛气短马上拨打120"),
    "animal_bite": _urgent("被动物咬抓伤，请今天就去打疫苗", "狂犬病发病后无法治愈，但及时处理可以预防：", "马上用肥皂水和流动清水交替冲洗约15分钟", "再用碘伏消毒，尽快去狂犬病暴露预防处置门诊", "伤口深或在头面部，还要问医生是否用免疫球蛋白和破伤风预防", source="《狂犬病暴露预防处置工作规范（2023年版）》 国家疾病预防控制局 2023"),
    "hypertensive_emergency": _urgent("血压很高，请尽快就医", "血压明显偏高但没有危险症状：", "安静坐5到10分钟再量，仍在180/110以上今天就去医院", "按原来的医嘱吃药，不要自己一次吃好几份", source=EMERGENCY_NOTICES["hypertensive_emergency"].source),
    "arrhythmia": _urgent("心跳异常，请今天就医", "心跳过快、过慢或很乱需要查心电图：", TODAY + "，最好在发作时做心电图", "记下脉搏和用药，先不要自己改药", source=EMERGENCY_NOTICES["arrhythmia"].source),
    "hyperglycaemia": _urgent("血糖很高，请今天就医", "血糖高到这个程度要查酮体和原因：", TODAY, "多喝白水，按医嘱用药，别自己加量", "出现呕吐、喘大气、没精神马上去急诊", source=EMERGENCY_NOTICES["hyperglycaemia"].source),
    "hypoglycaemia": _urgent("血糖偏低，请马上吃糖并复测", "人清醒时这样做：", "马上吃15到20克糖，15分钟后复测，仍低就再吃一次", "好转后吃点主食，当天联系医生看药要不要调", "叫不醒或不能咽就拨打120", source=EMERGENCY_NOTICES["hypoglycaemia"].source),
    "infection": _urgent("可能是较重的感染，请今天就医", "发烧不退或感染在扩大：", TODAY, "多喝水，按说明书用退烧药，别自己吃抗生素", "出现寒战、意识差、呼吸快马上拨打120"),
    "gi_bleed": _urgent("可能有消化道出血，请今天就医", "大便发黑或带血，特别是在吃抗栓药时：", TODAY + "，查血常规和便潜血", "给医生看药单，停不停药由医生决定", "头晕心慌、出冷汗、量多马上拨打120", source=EMERGENCY_NOTICES["gi_bleed"].source),
    "bleeding": _urgent("用抗栓药时出血，请今天联系医生", "小的出血也要让医生知道：", TODAY + "，查血常规和凝血", "自己不要停药，让开药医生决定", "止不住、头痛、黑便马上去急诊", source=EMERGENCY_NOTICES["bleeding"].source),
    "obstetric": _urgent("孕产期不适，请今天就去产科", "孕期出血、胎动变化都要当天看：", TODAY + "，带上产检本", "先卧床休息，数一小时胎动", "出血多、剧痛、头痛眼花马上拨打120", source=EMERGENCY_NOTICES["obstetric"].source),
    "eye": _urgent("眼睛的问题请今天就看眼科", "突然的黑影、闪光、红痛、视力下降要尽快查眼底和眼压：", TODAY, "先别揉眼、别戴隐形眼镜"),
    "acute_abdomen": _urgent("腹痛请今天就医", "持续或转移到右下腹的疼要排除阑尾炎等：", TODAY, "先别吃东西，别吃止痛药", "肚子变硬、发烧、越来越疼马上去急诊", source=EMERGENCY_NOTICES["acute_abdomen"].source),
    "angioedema": _urgent("嘴唇眼皮肿，请今天就医并密切观察", "现在呼吸还好，也可能变化：", TODAY, "停掉可疑食物和药，告诉医生是否吃普利类降压药", "喉咙紧、声音变、喘马上拨打120", source=EMERGENCY_NOTICES["angioedema"].source),
    "heart_failure": _urgent("可能是心衰加重，请今天联系医生", "体重几天内涨、腿肿、更喘，常是积水：", TODAY, "每天早上称体重并记下来，限盐", "躺不平、夜里憋醒马上拨打120", source=EMERGENCY_NOTICES["heart_failure"].source),
    "drug_rash": _urgent("可能是药物过敏，请今天就医", "吃药后出疹：", TODAY + "，带上药盒", "联系开药医生决定要不要停", "发烧、起泡、口眼烂、喘马上去急诊", source=EMERGENCY_NOTICES["drug_rash"].source),
    "hyperkalaemia": _urgent("血钾偏高，请今天就医复查", "血钾高可能没感觉但影响心脏：", TODAY + "，复查血钾并做心电图", "先别吃补钾药、低钠盐和高钾食物；带上药单", source=EMERGENCY_NOTICES["hyperkalaemia"].source),
    "head_injury": _urgent("磕到头，请今天去医院检查", "吃抗栓药或年纪大的人磕头后，出血可能晚出现：", TODAY, "24小时内有人陪着", "头痛加重、呕吐、犯困、说胡话马上拨打120", source=EMERGENCY_NOTICES["head_injury"].source),
    "child_red_flag": _urgent("孩子需要今天看医生", "孩子变化快：", TODAY, "少量多次喝口服补液盐或水，观察尿量和精神", "叫不醒、呼吸费力、抽搐马上拨打120", source=EMERGENCY_NOTICES["child_red_flag"].source),
    "urinary": _urgent("尿不出来，请今天去急诊导尿", "膀胱胀满会伤肾：", "现在就去医院泌尿外科或急诊", "先别大量喝水，别用力憋"),
    "syncope": _urgent("晕倒过，请今天就医", "第一次晕倒要查心电图和血压：", TODAY, "起身慢一点，先别开车、别登高", source=EMERGENCY_NOTICES["syncope"].source),
    "self_harm": Template("您的感受很重要，请让人陪您一起面对", "情绪低落、觉得自己没用，是可以治疗的：", ("可以拨打12356（全国统一心理援助热线）和专业人员聊聊", "这几天告诉一位信任的人，别一个人扛", "尽快去精神科或心理科看一看", "有伤害自己的念头或计划，马上拨打120或110，身边留人"), (), EMERGENCY_NOTICES["self_harm"].source),
    "wound": _urgent("伤口较深，请今天就医", "深而脏的伤口要清创并预防破伤风：", "先用清水和肥皂冲洗，干净布盖住", TODAY, "告诉医生上次打破伤风疫苗的时间"),
    "asthma": _urgent("哮喘没控制好，请今天联系医生", "夜里憋醒、急救喷雾用得多，说明要调整治疗：", TODAY, "带上吸入装置让医生看用法", "说不成句、喷药不见好马上拨打120", source=EMERGENCY_NOTICES["asthma"].source),
    "dyspnoea": _urgent("气短请今天就医", "新出现或加重的气短要查心肺：", TODAY, "坐着休息，别干重活"),
    "burns": _urgent("烫伤请尽快处理", "先降温再就医：", "流动凉水冲20分钟左右", "起水泡或在脸、手、会阴，今天去医院", "别抹牙膏酱油、别挑破水泡"),
    "poisoning": _urgent("吃错或吃多了药，请马上问医生", "先别等症状：", "马上联系开药医生、药师或就近急诊，带上药盒", "先别再吃下一次，也别催吐"),
    "seizure": _urgent("抽搐过，请今天就医", "已经停止并清醒也要查原因：", TODAY, "别独处、别开车、别游泳", source=EMERGENCY_NOTICES["seizure"].source),
    "anaphylaxis": _urgent("过敏请今天就医并观察", "目前没有喉紧喘憋，也可能变重：", TODAY, "停止接触可疑的食物或药物", "喉咙紧、喘、呕吐、头晕马上拨打120", source=EMERGENCY_NOTICES["anaphylaxis"].source),
    "trauma": _urgent("受伤请今天就医", "先处理再检查：", TODAY + "，必要时拍片", "肿痛处固定别动，可冷敷"),
    "violence": _urgent("您的安全最重要", "如果有人伤害您：", "有危险马上拨打110", "可拨打12338妇女维权热线或12345求助", source=EMERGENCY_NOTICES["violence"].source),
    "limb_ischaemia": _urgent("手脚发凉疼痛请今天就医", "要排除血管堵塞：", TODAY, "别用热水烫", source=EMERGENCY_NOTICES["limb_ischaemia"].source),
    "general": _urgent("请今天就医", "从描述看需要尽快面诊：", TODAY),
    "psychosis": _urgent("请尽快到精神科就诊", "出现幻听、多疑等要早看早治：", "家人陪同尽快到精神科", "有伤人或自伤危险马上拨打120或110", source=EMERGENCY_NOTICES["psychosis"].source),
    "procedure_bleeding": _urgent("穿刺处请今天让医生看", "穿刺处渗血、肿块、麻木要检查：", "按住出血处，少活动那侧肢体", TODAY, source=EMERGENCY_NOTICES["procedure_bleeding"].source),
    "spinal_cord": _urgent("腰腿无力请今天就医", "要排除神经受压：", TODAY, "别推拿正骨", source=EMERGENCY_NOTICES["spinal_cord"].source),
    "stent_antiplatelet": _urgent("支架后停了抗血小板药，请今天联系医生", "支架术后擅自停药可能形成血栓：", "今天就联系开药医生或去医院，问清怎样恢复用药", "不要自己一次补吃好几份", source="2023 ESC Guidelines for the management of acute coronary syndromes, European Heart Journal 2023"),
    "tube": _urgent("管路脱出，请今天就医", "胃管、尿管脱出要由医护重新处理：", "先别自己往回插，也别经胃管喂食", TODAY),
    "testicular_torsion": _urgent("睾丸疼痛请马上去泌尿外科", "要先排除扭转：", "现在就去急诊，别等", source=EMERGENCY_NOTICES["testicular_torsion"].source),
}
