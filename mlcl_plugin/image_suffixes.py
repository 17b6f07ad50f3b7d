# SPDX-License-Identifier: Apache-2.0
"""What files of images end with."""

IMAGE_SUFFIXES = (
    '.avif',
    '.bmp',
    '.gif',
    '.jfif',
    '.jp2',
    '.jpe',
    '.jpeg',
    '.jpg',
    '.pgm',
    '.png',
    '.ppm',
    '.tif',
    '.tiff',
    '.webp',
)
"""Suffixes of the files that are taken from a folder, in small or capital letters.

GIF and AVIF are taken only if OpenCV can decode them.
"""
OTHER_IMAGES = (
    '.arw',
    '.cr2',
    '.cr3',
    '.dng',
    '.heic',
    '.heif',
    '.ico',
    '.jxl',
    '.nef',
    '.orf',
    '.psd',
    '.raf',
    '.rw2',
    '.svg',
    '.tga',
)
"""Suffixes of images for which OpenCV has no decoder."""
