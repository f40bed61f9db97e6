/** From the JSON schema that the server sends to the fields that the page shows. Nothing lists them a second time. */

/** @typedef {import("./protocol.js").JsonSchema} JsonSchema */
/** @typedef {"model" | "config" | "params"} Part of the settings */
/** @typedef {"switch" | "choice" | "slider" | "number" | "text" | "numbers" | "prompts" | "adapters"} Widget */

/**
 * @typedef {object} Field
 * @property {Part} part
 * @property {string} name
 * @property {string} label
 * @property {string} description
 * @property {Widget} widget
 * @property {boolean} optional whether it may be left empty (null)
 * @property {unknown} initial
 * @property {string[]} choices
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} step
 * @property {number} [longest] characters
 */

const WIDEST_SLIDER = 100; // a wider range is typed
const FINEST = 0.01;

/**
 * @param {Part} part
 * @param {JsonSchema} schema of an object
 * @returns {Field[]} in the schema's order
 */
export function fieldsOf(part, schema) {
  return Object.entries(schema["properties"]).map(([name, property]) => fieldOf(part, name, property, schema));
}

/**
 * @param {Part} part
 * @param {string} name
 * @param {JsonSchema} property
 * @param {JsonSchema} schema
 * @returns {Field}
 */
function fieldOf(part, name, property, schema) {
  const { type, optional } = resolve(property, schema);
  const bounds = { ...bound("min", type), ...bound("max", type) };
  return {
    part,
    name,
    label: name.replaceAll("_", " "),
    description: property["description"] ?? "",
    widget: widgetOf(type, schema, bounds),
    optional,
    initial: property["default"] ?? null,
    choices: type["enum"] ?? [],
    step: type["type"] === "integer" ? 1 : FINEST,
    longest: type["maxLength"],
    ...bounds,
  };
}

/**
 * @param {JsonSchema} property
 * @param {JsonSchema} schema
 * @returns {{type: JsonSchema, optional: boolean}} without references and without the alternative of null
 */
function resolve(property, schema) {
  const alternatives = property["anyOf"] ?? [property];
  const types = alternatives.filter((/** @type {JsonSchema} */ one) => one["type"] !== "null");
  return { type: follow(types[0], schema), optional: types.length < alternatives.length };
}

/**
 * @param {JsonSchema} type
 * @param {JsonSchema} schema
 * @returns {JsonSchema}
 */
function follow(type, schema) {
  const name = type["$ref"]?.split("/").at(-1);
  return name ? schema["$defs"][name] : type;
}

/**
 * @param {"min" | "max"} end
 * @param {JsonSchema} type
 * @returns {{min?: number, max?: number}}
 */
function bound(end, type) {
  const inward = type["type"] === "integer" ? 1 : FINEST;
  const exclusive = type[end === "min" ? "exclusiveMinimum" : "exclusiveMaximum"];
  const open = exclusive === undefined ? undefined : exclusive + (end === "min" ? inward : -inward);
  const value = type[end === "min" ? "minimum" : "maximum"] ?? open;
  return value === undefined ? {} : { [end]: value };
}

/**
 * @param {JsonSchema} type
 * @param {JsonSchema} schema
 * @param {{min?: number, max?: number}} bounds
 * @returns {Widget}
 */
function widgetOf(type, schema, { min, max }) {
  if (type["enum"]) return "choice";
  if (type["type"] === "boolean") return "switch";
  if (type["type"] === "array") return listOf(follow(type["items"], schema));
  if (type["type"] !== "integer" && type["type"] !== "number") return "text";
  return min !== undefined && max !== undefined && max - min <= WIDEST_SLIDER ? "slider" : "number";
}

/**
 * @param {JsonSchema} items
 * @returns {Widget}
 */
function listOf(items) {
  if (items["properties"]?.["weight"]) return "prompts";
  return items["properties"]?.["path"] ? "adapters" : "numbers";
}
