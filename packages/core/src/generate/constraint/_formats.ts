/** Patterns whose texts have the formats of JSON Schema (validation, section 7.3) that OpenAI keeps. They are narrower than the formats where that is simpler. */

const date =
  "\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))";
const time = "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
const byte = "(?:\\d|[1-9]\\d|1\\d\\d|2[0-4]\\d|25[0-5])";
const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const hostname = `${label}(?:\\.${label}){0,3}`;

export const formats: Readonly<Record<string, string>> = {
  "date-time": `^${date}T${time}$`,
  date: `^${date}$`,
  time: `^${time}$`,
  duration:
    "^P(?:\\d{1,9}W|\\d{1,9}D(?:T\\d{1,9}H)?|T\\d{1,9}H(?:\\d{1,9}M(?:\\d{1,9}S)?)?|T\\d{1,9}M(?:\\d{1,9}S)?|T\\d{1,9}S)$",
  email: `^[a-z0-9_+-]{1,30}(?:\\.[a-z0-9_+-]{1,30})?@${label}\\.[a-z]{2,10}$`,
  hostname: `^${hostname}$`,
  ipv4: `^${byte}(?:\\.${byte}){3}$`,
  ipv6: "^[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}$",
  uuid: "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
  uri: `^https?://${hostname}(?:/[A-Za-z0-9._~-]{0,200}){0,20}$`,
};
