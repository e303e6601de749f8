/**
 * Which IP addresses are public: reached over the internet, and no part of somebody's own network.
 *
 * @module
 */
import { BlockList, isIP } from "node:net";

/** IPv4 that is private, local, reserved or for many: RFC 6890 and its successors. */
const RESERVED_V4 = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/3",
];
/** The one block of IPv6 that is handed out, and what of it is not the internet. */
const GLOBAL_V6 = ["2000::/3"];
const RESERVED_V6 = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

/** An IPv4 address inside an IPv6 one, as URLs write it: mapped, or behind a NAT64. */
const EMBEDDED = /^\[(?:::ffff:|64:ff9b::)([0-9a-f]{1,4}):([0-9a-f]{1,4})\]$/;

function blocks(subnets: readonly string[], family: "ipv4" | "ipv6"): BlockList {
  const list = new BlockList();
  for (const subnet of subnets) {
    const [address = "", bits] = subnet.split("/");
    list.addSubnet(address, Number(bits), family);
  }
  return list;
}

const reservedV4 = blocks(RESERVED_V4, "ipv4");
const globalV6 = blocks(GLOBAL_V6, "ipv6");
const reservedV6 = blocks(RESERVED_V6, "ipv6");

/** Whether an address is public; what is no address is not. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !reservedV4.check(address, "ipv4");
  // A zone, as in fe80::1%eth0, makes an address local.
  if (family !== 6 || address.includes("%")) return false;
  const [, high, low] = EMBEDDED.exec(new URL(`http://[${address}]`).hostname) ?? [];
  if (high !== undefined && low !== undefined) {
    const bytes = [high, low].flatMap((
      part,
    ) => [parseInt(part, 16) >> 8, parseInt(part, 16) & 255]);
    return isPublicAddress(bytes.join("."));
  }
  return globalV6.check(address, "ipv6") && !reservedV6.check(address, "ipv6");
}
