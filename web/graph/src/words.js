// Names and colours of what the graph holds. Colours differ in lightness too, for those who see few hues.
export const TYPES = {
  disease: ["疾病", "#c2410c"],
  symptom: ["症状", "#d97706"],
  drug: ["药物", "#0b6e75"],
  drug_class: ["药物类别", "#0f4c81"],
  test: ["检查", "#6d28d9"],
  indicator: ["指标", "#9333ea"],
  risk_factor: ["危险因素", "#991b1b"],
  procedure: ["治疗与操作", "#15803d"],
  food: ["食物", "#65a30d"],
  lifestyle: ["生活方式", "#4d7c0f"],
  population: ["人群", "#475569"],
  department: ["科室", "#334155"],
  body_part: ["部位", "#a16207"],
};

export const RELATIONS = {
  has_symptom: "表现为", red_flag_of: "危险信号提示", differential_of: "需要区分", complication_of: "是其并发症",
  causes: "引起", prevents: "预防", treated_by: "治疗用", contraindicated_for: "禁用于", caution_in: "慎用于",
  interacts_with: "相互作用", belongs_to_class: "属于", administered_as: "用法", diagnosed_by: "检查用",
  measured_by: "由此测得", monitors: "用来监测", normal_range: "正常范围", target_range: "目标范围",
  abnormal_suggests: "异常提示", recommended_for: "推荐用于", located_in: "部位", belongs_to_department: "就诊科室",
};

export const WARNINGS = new Set(["contraindicated_for", "interacts_with", "red_flag_of", "caution_in"]);

export const typeName = (type) => (TYPES[type] ?? [type])[0];
export const typeColour = (type) => (TYPES[type] ?? [type, "#64748b"])[1];
export const relationName = (relation) => RELATIONS[relation] ?? relation;
export const sourceOf = (edge) => `${edge.source}（${edge.year}）`;
