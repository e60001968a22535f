"""Sentences outside the phrasebook, spoken to teach the model to reject what it does not know."""

from __future__ import annotations

import random
from itertools import product

from speech_translation.types import Language

_WRITTEN = {
    Language.ENGLISH: """
The lighthouse keeper climbed the spiral stairs and lit the lamp once more.
Nobody in the village remembered when the old mill had stopped turning.
She folded the letter twice and slid it beneath the loose floorboard.
A pale moon hung above the marshes, and the dogs would not stop howling.
He had promised never to return, yet here he stood at the iron gate.
The carriage rattled over the cobblestones and vanished into the fog.
Snow had buried the fence posts, so they followed the river instead.
Somewhere below deck a violin was playing an unfamiliar waltz.
The prisoner counted the cracks in the ceiling until dawn.
Her laughter echoed through the empty ballroom like breaking glass.
The giant set down his axe and listened to the trembling forest.
Long after the guests departed, the candles were still burning.
He painted the same oak tree for forty years and never sold a canvas.
Dust rose behind the riders as they galloped across the plain.
The witch offered the boy three acorns and a warning.
Rain drummed on the tin roof while the brothers argued about the inheritance.
In the attic they discovered a trunk filled with yellowed sheet music.
The fox crept past the sleeping shepherd without a sound.
Autumn came early that year, and with it the wolves.
When the storm finally broke, the sailors dragged what remained of their boat onto the shingle \
and slept where they fell.
Nobody had told the old clockmaker that the square in which he kept his workshop was to be \
demolished before the end of spring.
Every clock in the mansion had stopped at the moment of her death.
Parliament rejected the amendment by a narrow margin on a second vote.
The central bank raised interest rates by a quarter of a percentage point.
Rescue crews searched the rubble for survivors throughout the weekend.
Shares in the mining company plunged after the accounting scandal.
The prime minister declined to comment on the resignation of her deputy.
Firefighters contained the blaze before it reached the chemical plant.
Negotiators hope to sign the ceasefire agreement before the summit ends.
Thousands of commuters were stranded by a strike of signal workers.
Exports of semiconductors fell sharply in the first quarter.
The governor declared a state of emergency as the floodwaters rose.
Investigators believe the bridge collapsed because of metal fatigue.
The commission said on Thursday that it would investigate whether the two largest steel producers \
had secretly fixed their prices for nearly a decade.
An independent panel will review the allegations of voter fraud.
Officials confirmed that the satellite burned up over the southern ocean.
Unemployment has dropped to its lowest level in two decades.
The airline cancelled its merger plans amid regulatory concerns.
Protesters gathered outside the ministry to demand cheaper electricity.
Scientists warn that the glacier could disappear within a generation.
The senator's campaign spent millions on television advertisements.
Archaeologists unearthed a bronze helmet near the ancient harbour.
The orchestra has appointed its first female conductor.
The Roman legions abandoned the northern frontier in the fifth century.
Merchants carried silk, spices and paper along the caravan routes.
The plague reduced the population of the continent by a third.
After the siege, the emperor ordered the walls to be rebuilt.
The printing press spread the ideas of the reformers across Europe.
Settlers dug canals so that barges could reach the coal mines.
The treaty divided the conquered provinces among the victorious kings.
Pharaohs were buried with jewels, weapons and carved servants.
The revolution began with a shortage of grain and a rumour.
Sailors feared scurvy more than storms or pirates.
The queen's navy scattered the invading fleet in a single afternoon.
Factories replaced the handlooms, and whole valleys fell silent.
The dynasty collapsed when its generals refused to march.
Astronomers in Baghdad corrected the tables of the Greeks.
Although the cardinal had forbidden it, the students copied the banned treatise by candlelight \
and smuggled it over the mountains in barrels of salted herring.
Few documents survive from the reign of the last chieftain.
Vikings sailed up the estuary and burned the monastery.
Gold was discovered in the foothills, and a town sprang up overnight.
The assassin was captured hiding in a barn two weeks afterwards.
Slavery was abolished throughout the colonies by an act of parliament.
The expedition perished within sight of its final depot.
Chlorophyll absorbs red and blue light and reflects the rest.
Neurons communicate across tiny gaps by releasing chemical messengers.
The telescope detected water vapour in the atmosphere of a distant planet.
Enzymes lower the energy that a reaction needs to proceed.
Tectonic plates drift about as fast as fingernails grow.
An electron has no known internal structure.
Bats locate their prey by listening for echoes of their own cries.
The half-life of the isotope is roughly five thousand years.
Gravity bends the path of light near a massive star.
Coral reefs shelter a quarter of all marine species.
Bacteria exchange genes and so become resistant to antibiotics.
The comet's tail always points away from the sun.
Superconductors expel magnetic fields when they are cooled sufficiently.
Mosquitoes transmit the parasite that causes malaria.
The equation has no solution among the whole numbers.
Friction converts the kinetic energy of the wheel into heat.
Octopuses possess three hearts and remarkably clever arms.
Volcanic ash fertilised the slopes for thousands of harvests.
Because sound travels faster in warm air than in cold air, a distant whistle can sometimes be \
heard far more clearly at night.
The algorithm sorts the records in linear time on average.
Helium was found in the solar spectrum before it was found on earth.
We shall not surrender our liberty for the comfort of silence.
Let history record that this generation chose courage over fear.
Fellow citizens, the hour of decision has arrived.
I stand before you humbled by the trust you have bestowed upon me.
Whoever silences the smallest voice weakens the whole chorus of our democracy.
Our forefathers planted these vineyards so that strangers might rest in shade.
The strength of a republic lies in the patience of its people.
Ladies and gentlemen, I hereby declare the exhibition open.
No tyrant has ever feared a sleeping nation.
We have crossed deserts of doubt and rivers of grief together, and we will not turn around now \
that the harbour is in view.
Graduates, the world owes you nothing but its problems.
The tenant shall indemnify the landlord against all claims arising hereunder.
Either party may terminate this contract upon written notice.
The defendant pleaded not guilty to the charge of embezzlement.
The court finds the testimony of the witness unreliable.
Any dispute shall be settled exclusively by arbitration.
The jury deliberated for nine days without reaching a verdict.
Objection, your honour, counsel is leading the witness.
This clause survives the expiry of the agreement.
The appellant failed to demonstrate any error in the lower ruling.
Trespassers will be prosecuted under the relevant statute.
The goalkeeper dived low to push the penalty around the post.
She broke the world record in the steeplechase by half a stride.
The champion retired injured after losing the opening set.
A late header sent the underdogs through to the semifinals.
The pitcher struck out the side with the bases loaded.
Torrential rain forced the umpires to abandon the match.
The peloton caught the breakaway just before the final climb.
He was disqualified for a false start in the relay.
The rookie scored a triple double on his debut.
Their coach blamed the referee for the humiliating defeat.
Pray, sir, do not trouble yourself on my account.
Upon my word, the scoundrel has stolen the silver again!
I beseech thee, good master, spare the poor creature.
What news from the battlefield, my lord?
Hold your tongue, knave, or I shall have you whipped!
Alas, the king lies mortally wounded in his tent.
My dear Colonel, you astonish me beyond measure.
Fetch the physician, and tell no living soul!
Thou hast betrayed thy brother for a handful of coins.
By heaven, I would sooner perish than marry that wretch!
""",
    Language.JAPANESE: """
灯台守は軋む螺旋階段をのぼり、嵐の海に灯をともした。
古い水車がいつ止まったのか、村で覚えている者はいなかった。
彼女は手紙を細く裂いて、暖炉の炎に投げ入れた。
沼の上に青白い月がかかり、どこかで狐が鳴いた。
二度と戻らぬと誓ったはずの男が、鉄の門の前に立っていた。
馬車は石畳を鳴らして霧の奥へ消えていった。
垣根は雪に埋もれ、旅人は凍った川に沿って進むほかなかった。
船底のほうから、聞き慣れない調べがかすかに流れてきた。
囚人は夜が白むまで天井の染みを数えつづけた。
その笑い声は、誰もいない広間にいつまでも響いていた。
鬼は斧を下ろし、震える森に耳を澄ませた。
客が去ったあとも、蝋燭は静かに燃えていた。
絵師は四十年のあいだ、同じ松ばかりを描きつづけた。
騎馬の一団が、砂塵を巻き上げながら平原を駆け抜けた。
魔女は少年に三つの種と、ひとつの忠告を与えた。
屋根を打つ雨の下で、兄弟は遺産をめぐって言い争った。
屋根裏の長持から、黄ばんだ楽譜の束が見つかった。
狐は眠りこけた羊飼いの脇を音もなく通り過ぎた。
その年は秋が早く訪れ、山里には狼が下りてきた。
嵐がようやくおさまると、水夫たちは壊れた小舟を浜に引き上げ、倒れこむようにその場で眠りに落ちた。
工房のある広場が春の終わりまでに取り壊されることを、年老いた職人に告げる者は一人もいなかった。
彼女が息を引き取った瞬間、屋敷じゅうの針が止まったという。
蝉時雨のなか、少女は朽ちた鳥居をくぐった。
障子の向こうで、影がゆらりと動いた。
桜の花びらが、無人の校庭を埋めつくしていた。
男は黙って刀を置き、深く頭を垂れた。
参議院は修正案を賛成多数で可決しました。
中央銀行は政策金利を引き上げる方針を固めました。
救助隊は瓦礫の下に取り残された住民の捜索を続けています。
粉飾決算の発覚を受けて、同社の株価は急落しました。
官房長官は大臣の辞任についてコメントを避けました。
火は化学工場に燃え移る前に消し止められました。
両国は首脳会談までに停戦合意を目指す考えです。
信号設備の故障で、およそ三万人の足に影響が出ました。
半導体の輸出額は、前の年の同じ時期を大きく下回りました。
記録的な大雨で川が氾濫し、知事は災害派遣を要請しました。
橋の崩落は金属疲労が原因とみられています。
公正取引委員会は、鉄鋼大手二社が十年近くにわたって価格を申し合わせていた疑いがあるとして、立ち入り検査を始めました。
第三者委員会は不正の有無を調べることにしています。
人工衛星は大気圏に突入して燃え尽きました。
失業率は過去二十年で最も低い水準となりました。
航空各社は燃料費の高騰を理由に運賃を値上げします。
省庁の前では電気料金の値下げを求める集会が開かれました。
専門家は氷河が数十年で消滅する恐れがあると警告しています。
選挙管理委員会は開票作業のやり直しを決めました。
遺跡の発掘調査で青銅の兜が出土しました。
交響楽団は新しい音楽監督を迎えると発表しました。
台風は勢力を保ったまま列島に接近しています。
検察は元社長を詐欺の疑いで起訴しました。
ローマの軍団は五世紀に北の国境を放棄した。
商人たちは絹や香辛料を積んで砂漠を越えた。
疫病によって大陸の人口は三分の一も減った。
包囲が解かれると、皇帝は城壁の再建を命じた。
印刷術の発明は改革者の思想を広く伝えた。
幕府は諸大名に領国と江戸の往復を義務づけた。
条約により、占領地は戦勝国のあいだで分割された。
王の墓には宝石や武器とともに土の人形が納められた。
革命の発端は、穀物の不足と根も葉もない噂であった。
船乗りは嵐や海賊よりも壊血病を恐れた。
連合艦隊は侵攻軍をわずか半日で打ち破った。
機械の普及により、手織りの里は次々と姿を消した。
将軍たちが出陣を拒み、王朝はあえなく滅んだ。
遣唐使は仏典や暦を携えて帰国した。
枢機卿に禁じられてもなお、学生たちは蝋燭の明かりで禁書を書き写し、塩漬けの樽に隠して山の向こうへ運んだ。
その豪族については、ほとんど史料が残されていない。
山で金が見つかり、一夜のうちに町ができあがった。
明治政府は廃藩置県を断行した。
奴隷制度は議会の決議によって廃止された。
探検隊は最後の補給地を目前にして全滅した。
縄文人は木の実を土器で煮て食べていた。
葉緑素は赤と青の光を吸収し、緑の光を反射する。
神経細胞は化学物質を放出して信号を伝える。
望遠鏡は遠い惑星の大気に水蒸気を検出した。
酵素は反応に必要なエネルギーを下げるはたらきをもつ。
大陸は爪が伸びるほどの速さで移動している。
電子に内部構造は確認されていない。
蝙蝠は自分の声の反響をたよりに獲物をとらえる。
この同位体の半減期はおよそ五千年である。
巨大な星の近くでは、光さえも重力で曲げられる。
珊瑚礁には海の生物の四分の一が暮らしている。
細菌は遺伝子をやりとりして薬への耐性を得る。
彗星の尾はつねに太陽と反対の方向に伸びる。
超伝導体は十分に冷やすと磁場をはじき出す。
その寄生虫は蚊によって媒介される。
この方程式には整数の解が存在しない。
摩擦は運動のエネルギーを熱に変える。
蛸には心臓が三つもある。
火山灰は長い年月をかけて斜面を肥沃にした。
音は冷たい空気よりも暖かい空気の中を速く伝わるため、夜には遠くの汽笛がはっきりと聞こえることがある。
細胞膜は脂質の二重の層からなる。
確率の総和は必ず一に等しくなる。
われわれは沈黙の安らぎと引き換えに自由を手放しはしない。
歴史に刻もうではありませんか、勇気を選んだ世代として。
国民の皆さん、決断の時は来ました。
皆様の信任をいただき、身の引き締まる思いでございます。
一人に対する不正は、すべての人に対する不正であります。
先人の植えた木の陰で、いま私たちは憩うのです。
ここに博覧会の開会を宣言いたします。
眠れる民を恐れた暴君など、かつて一人もおりません。
疑いの荒野と悲しみの大河をともに越えてきた私たちが、港を目の前にして引き返すことなどありえません。
卒業生諸君、世界は問題に満ちている。
学校を建てることは、未来への橋を架けることであります。
借主は本契約から生じる一切の損害を賠償するものとする。
当事者は書面による通知をもって契約を解除できる。
被告人は横領の罪状について無罪を主張した。
裁判所は証人の供述を信用できないと判断した。
紛争はもっぱら仲裁によって解決する。
陪審は九日に及ぶ評議でも結論に至らなかった。
異議あり、ただいまの尋問は誘導にあたります。
本条の規定は契約の終了後も効力を有する。
上告人の主張にはいずれも理由がない。
本法に違反した者は、五年以下の懲役または罰金に処する。
守護神が横っ飛びで強烈なシュートをはじき出した。
彼女は障害競走で世界記録を大幅に更新した。
王者は第一セットを落としたあとに棄権した。
終了間際のヘディングで伏兵が準決勝に駒を進めた。
投手は満塁の危機を三者連続三振で切り抜けた。
豪雨のため、試合は五回で打ち切られた。
逃げ集団は最後の上り坂で吸収された。
横綱が上手投げで大関を土俵にたたきつけた。
新人は初登板で完封勝利を飾った。
監督は大敗の責任を取って退任した。
拙者のことなら、どうかお構いなく。
なんと、あの悪党めがまた銀の器を盗みおったか。
殿、敵の軍勢が川を渡ってまいりました。
ええい、者ども、曲者を逃がすでないぞ。
無礼者、口をつつしめ。
おお、陛下は天幕のなかで深手を負うておられる。
そなたの申すこと、しかと胸に刻んだぞ。
わしは生まれてこのかた、嘘などついたためしがない。
おのれ、わずかな小判のために兄を裏切ったな。
あんな男に嫁ぐくらいなら、いっそ死んだほうがましじゃ。
""",
}

_FRAGMENTS = {
    Language.ENGLISH: (
        "Not a word|By no means|Against all odds|Silence|Never again|Beyond the horizon|As a result"
        "|Chapter eleven|In other words|Nonsense|Hardly|Once upon a time|Fire at will|So be it"
        "|A forgotten kingdom|Perhaps|On the contrary|Without hesitation|Fascinating|Order in court"
        "|To be continued|Breaking news|Strictly confidential|Absolutely not|The usual suspects"
        "|Ashes to ashes|Onwards|For example|Rest in peace|A grave mistake"
    ),
    Language.JAPANESE: (
        "まさか|やれやれ|夜明け前|第十一章|要するに|とんでもない|むかしむかし|ばかな|静まれ|つづく"
        "|忘れられた王国|おそらく|それどころか|ためらうことなく|興味深い|速報です|極秘事項|断じて許さん"
        "|万歳|例によって|水平線のかなた|されど|無念|開廷|さらば友よ|もはやこれまで|なるほど"
        "|千里の道|致命的な誤り|いざ出陣"
    ),
}

# English reads subject, verb phrase, adverbial; Japanese subject, adverbial, verb phrase.
_CLAUSES = {
    Language.ENGLISH: (
        "The old fisherman|A weary soldier|The blind poet|Her stubborn uncle|The committee"
        "|An anonymous donor|The ambassador|Two masked thieves|The village blacksmith"
        "|Nearly every historian|The young astronaut|A retired judge|The stray hound"
        "|His rival|The abbess|A crowd of pilgrims|The chief engineer|The exiled prince"
        "|One careless botanist|The ghost of the miller",
        "rejected the generous proposal|buried the silver coins|studied the faded inscription"
        "|confessed to the crime|repaired the broken compass|vanished from the records"
        "|wrote a bitter farewell|measured the depth of the lake|demanded an apology"
        "|defended the narrow pass|whispered the forbidden name|published the startling results"
        "|sharpened a rusty sword|ignored the solemn warning|rescued the drowning child"
        "|predicted the eclipse|carved a wooden idol|denied the accusation"
        "|crossed the frozen strait|burned the manuscript",
        "before the war|in the depths of winter|without any explanation|under a crimson sky"
        "|against all advice|during the coronation|for the sake of honour|beneath the ruined tower"
        "|with trembling hands|according to legend|in front of the cathedral|throughout the siege"
        "|amid thunderous applause|at the edge of the desert|despite the evidence"
        "|as the tide turned|until the bells fell silent|on behalf of the crown"
        "|far from civilisation|in exchange for mercy",
    ),
    Language.JAPANESE: (
        "年老いた漁師は|疲れ果てた兵士は|盲目の詩人は|頑固な叔父は|委員会は|匿名の寄付者は|大使は"
        "|覆面の盗賊は|村の鍛冶屋は|多くの歴史家は|若き宇宙飛行士は|引退した判事は|野良犬は"
        "|宿敵の剣士は|尼僧は|巡礼の群れは|主任技師は|追放された王子は|不注意な植物学者は"
        "|粉屋の亡霊は",
        "戦の前に|真冬の谷で|何の説明もなく|茜色の空の下で|周囲の反対を押し切って|戴冠式のさなかに"
        "|名誉のために|崩れた塔の陰で|震える手で|伝説によれば|大聖堂の前で|籠城のあいだ"
        "|割れんばかりの喝采のなか|砂漠の果てで|証拠に背いて|潮が満ちるころ|鐘が鳴りやむまで"
        "|王室に代わって|文明から遠く離れて|慈悲と引き換えに",
        "申し出を退けた|銀貨を埋めた|かすれた碑文を調べた|罪を告白した|壊れた羅針盤を直した"
        "|記録から姿を消した|別れの詩をしたためた|湖の深さを測った|謝罪を要求した|峠を守り抜いた"
        "|禁じられた名をささやいた|驚くべき結果を公表した|錆びた剣を研いだ|警告を無視した"
        "|溺れる子を救い出した|日食を予言した|木彫りの像を刻んだ|疑惑を否定した"
        "|凍った海峡を渡った|原稿を焼き捨てた",
    ),
}


def other_sentences(language: Language, count: int, seed: int) -> list[str]:
    """Draw `count` distinct sentences that the phrasebook does not hold, the same for a same seed.

    Up to half of them are hand-written sentences and fragments, the others composed from clauses.
    Raises ValueError when `count` is more than the language has.
    """
    space, stop = (" ", ".") if language is Language.ENGLISH else ("", "。")
    written = _WRITTEN[language].strip().splitlines()
    written += [fragment + stop for fragment in _FRAGMENTS[language].split("|")]
    clauses = [part.split("|") for part in _CLAUSES[language]]
    composed = [space.join(parts) + stop for parts in product(*clauses)]

    draw = random.Random(seed)
    sentences = draw.sample(written, min(len(written), count // 2))
    sentences += draw.sample(composed, count - len(sentences))
    draw.shuffle(sentences)
    return sentences
