"""What a DGX OS host is and in which state its packages are. Pure: texts of files and programs in, values out; no serial number among them."""
